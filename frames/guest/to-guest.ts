import { pair } from '../../lib/ports/pair.js';
import type { Port } from '../../lib/ports/port.js';
import { tap } from '../../lib/ports/tap.js';
import { NativeArena } from '../../lib/xen/native/arena.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';
import { EVERYTHING, openEnd, send } from '../../worlds/port-end.js';
import type { Variant } from '../forms/variants.js';
import { mark, markOf } from '../marks.js';
import { MTU_MAX, makeBridge, stopLearning } from '../network.js';
import { batchesOf, Inlet, type Offloaded } from '../references/kernel.js';
import type { FromBackend } from '../references/netfront.js';
import { bytesOfVnet, NO_OFFLOAD, vnetOf, wordsOfVnet } from '../references/vnet.js';
import type { GuestKind } from './guests.js';
import { machineFor, settledUntil } from './machines.js';
import { Receiver } from './receive.js';

export const TO_GUEST_PORTS = ['own port, copy', 'own port, map', 'pair', 'tap'] as const;
export type ToGuestPort = (typeof TO_GUEST_PORTS)[number];

/** A variant on its way to the guest. */
export interface Delivery {
  readonly variant: Variant;
  readonly mark: number;
}

export interface Delivered {
  readonly delivery: Delivery;
  /** What the guest has in its buffers. */
  readonly received: readonly FromBackend[];
}

const DOMID = 7;
const VIF = 'vif7.0';
/** The mark of the frame behind a batch: once the guest has it, no other frame of the batch will come. */
const LAST = 0xffffffff;

/** A backend that serves a guest, and a host's side that sends frames to that guest. */
export class ToGuestRun implements AsyncDisposable {
  readonly #world: World;
  readonly #receiver: Receiver;
  readonly #put: (frames: readonly Offloaded[]) => void;
  readonly #end: () => Promise<void>;

  static async open(port: ToGuestPort, kind: GuestKind, index: number): Promise<ToGuestRun> {
    const world = await World.open(machineFor(port === 'tap'));
    const guest = await world.guest(DOMID);
    await world.settled(guest.connect(world.toolstack, kind.keys));
    const { made, put, end } = hostSide(port, index, world);
    const payload = port === 'own port, map' ? 'map' : 'copy';
    await world.start(payload, [], made === undefined ? {} : { port: made });
    await settledUntil(
      world.machine,
      'the connection',
      () => world.netback.vifs.get(VIF)?.state === 'connected',
    );
    return new ToGuestRun(world, guest, put(), end);
  }

  private constructor(
    world: World,
    guest: RawGuest,
    put: (frames: readonly Offloaded[]) => void,
    end: () => Promise<void>,
  ) {
    this.#world = world;
    this.#receiver = new Receiver(guest);
    this.#put = put;
    this.#end = end;
  }

  /** How many frames vifd has counted as dropped so far. */
  get dropped(): number {
    return this.#world.netback.vifs.get(VIF)?.stats.toGuest.dropped ?? 0;
  }

  async deliver(deliveries: readonly Delivery[]): Promise<Delivered[]> {
    const received = new Map<number, FromBackend[]>();
    const frames = deliveries.map(({ variant, mark: number }): Offloaded => {
      const frame = variant.open.slice();
      mark(frame, number);
      return { frame, vnet: vnetOf(variant) };
    });
    for (const batch of batchesOf(frames)) await this.#pass([...batch, lastFrame()], received);
    return deliveries.map((delivery) => ({ delivery, received: received.get(delivery.mark) ?? [] }));
  }

  async #pass(batch: readonly Offloaded[], into: Map<number, FromBackend[]>): Promise<void> {
    this.#put(batch);
    let over = false;
    await settledUntil(this.#world.machine, 'the last frame of a batch', () => {
      for (const frame of this.#receiver.take()) {
        const of = markOf(frame.bytes);
        over ||= of === LAST;
        const known = into.get(of);
        if (known === undefined) into.set(of, [frame]);
        else known.push(frame);
      }
      return over;
    });
    into.delete(LAST);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#world.close();
    await this.#end();
  }
}

/** @returns a frame of an ethertype for experiments (0x88b5). */
function lastFrame(): Offloaded {
  const frame = new Uint8Array(60);
  frame.set([0x00, 0x16, 0x3e, 0, 0, 7]);
  frame.set([0x88, 0xb5], 12);
  mark(frame, LAST);
  return { frame, vnet: NO_OFFLOAD };
}

interface HostSide {
  /** Makes vifd's port; undefined: the port is a TestPort. */
  readonly made: (() => Port) | undefined;
  /** Call it once vifd has opened its port. @returns a function that sends frames. */
  readonly put: () => (frames: readonly Offloaded[]) => void;
  readonly end: () => Promise<void>;
}

function hostSide(port: ToGuestPort, index: number, world: World): HostSide {
  if (port === 'tap') return behindBridge(index);
  if (port === 'pair') return behindPair();
  const put = (frames: readonly Offloaded[]) => {
    for (const { frame, vnet } of frames) world.port(VIF).put(frame, wordsOfVnet(vnet));
  };
  return { made: undefined, put: () => put, end: async () => {} };
}

function behindBridge(index: number): HostSide {
  const bridge = `frames-tbr${index}`;
  makeBridge(bridge);
  const inlet = new Inlet(`frames-tin${index}`, bridge);
  const name = `frames-tvif${index}`;
  const made = () => {
    const device = tap({ name, bridge, mtu: MTU_MAX, up: true });
    stopLearning(name);
    return device;
  };
  return { made, put: () => (frames) => inlet.put(frames), end: async () => inlet[Symbol.asyncDispose]() };
}

function behindPair(): HostSide {
  const [ours, theirs] = pair();
  const put = () => {
    const end = openEnd(ours, (bytes) => new NativeArena(bytes), EVERYTHING);
    return (frames: readonly Offloaded[]) => {
      send(
        end,
        frames.map(({ frame, vnet }) => ({ frame, header: bytesOfVnet(vnet) })),
      );
    };
  };
  return { made: () => theirs, put, end: async () => ours[Symbol.asyncDispose]() };
}
