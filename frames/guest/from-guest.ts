import { tap } from '../../lib/ports/tap.js';
import type { RawGuest, TxSlot } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';
import type { TestPort } from '../../worlds/model/test-port.js';
import { markOf } from '../marks.js';
import { MTU_MAX, makeBridge, stopLearning } from '../network.js';
import type { Random } from '../random.js';
import { group, type Kernel, Outlet } from '../references/kernel.js';
import { type Vnet, vnetOfBytes } from '../references/vnet.js';
import { machineFor, settledUntil } from './machines.js';
import { layOut, type Sending, slotsOf } from './slots.js';

export const FROM_GUEST_MODES = ['copy', 'map', 'map into a tap'] as const;
export type FromGuestMode = (typeof FROM_GUEST_MODES)[number];

/** The result for a frame. */
export interface Sent {
  readonly sending: Sending;
  /** The frames that came out of the kernel, segmented and completed. */
  readonly out: readonly Uint8Array[];
  /** The frame as the port got it, if the port is a TestPort. */
  readonly port?: { readonly frame: Uint8Array; readonly vnet: Vnet };
  /** Whether the guest got an error as its response. */
  readonly refused: boolean;
}

const DOMID = 7;
const VIF = 'vif7.0';
const SLOTS_OF_A_BATCH = 240;
const BYTES_OF_A_BATCH = 400_000;
/** How many bytes go into a tap at once: the result waits in the outlet, whose queue vifd bounds. */
const BYTES_INTO_A_TAP = 100_000;
const SEGMENTS_INTO_A_TAP = 600;
const RESPONSE_ERROR = -1;

/** A guest that sends frames, a backend that serves it, and an outlet for the results. */
export class FromGuestRun implements AsyncDisposable {
  readonly #world: World;
  readonly #guest: RawGuest;
  readonly #mode: FromGuestMode;
  readonly #kernel: Kernel;
  readonly #outlet: Outlet | undefined;

  static async open(mode: FromGuestMode, kernel: Kernel): Promise<FromGuestRun> {
    const direct = mode === 'map into a tap';
    const world = await World.open(machineFor(direct));
    const guest = await world.guest(DOMID);
    const outlet = direct ? tapOutlet() : undefined;
    const port = () => {
      const made = tap({ name: 'frames-vif', bridge: 'frames-vbr', mtu: MTU_MAX, up: true });
      stopLearning('frames-vif');
      return made;
    };
    await world.start(mode === 'copy' ? 'copy' : 'map', [guest], direct ? { port } : {});
    await settledUntil(
      world.machine,
      'the connection',
      () => world.netback.vifs.get(VIF)?.state === 'connected',
    );
    return new FromGuestRun(world, guest, mode, kernel, outlet);
  }

  private constructor(
    world: World,
    guest: RawGuest,
    mode: FromGuestMode,
    kernel: Kernel,
    outlet: Outlet | undefined,
  ) {
    this.#world = world;
    this.#guest = guest;
    this.#mode = mode;
    this.#kernel = kernel;
    this.#outlet = outlet;
  }

  /** How many frames vifd has counted as dropped so far. */
  get dropped(): number {
    return this.#world.netback.vifs.get(VIF)?.stats.fromGuest.dropped ?? 0;
  }

  /** Whether the port is a TestPort, which shows the frames that vifd passed to it. */
  get seesPort(): boolean {
    return this.#outlet === undefined;
  }

  /** Why vifd no longer serves the guest; undefined while it does. */
  get broken(): string | undefined {
    const vif = this.#world.netback.vifs.get(VIF);
    return vif?.state === 'connected' ? undefined : (vif?.reason ?? vif?.state ?? 'the vif is gone');
  }

  /** @returns how many of the sendings, from the first on, fit into one `send`. */
  room(sendings: readonly Sending[]): number {
    let [slots, bytes, segments, count] = [0, 0, 0, 0];
    const direct = this.#mode === 'map into a tap';
    for (const sending of sendings) {
      const { frame, segment } = sending.variant;
      slots += slotsOf(sending);
      const pieces = segment === 0 ? 1 : Math.ceil(frame.length / segment) + 1;
      segments += pieces;
      bytes += frame.length + (direct ? pieces * 256 : 0);
      const isFull = slots > SLOTS_OF_A_BATCH || bytes > (direct ? BYTES_INTO_A_TAP : BYTES_OF_A_BATCH);
      if (count > 0 && (isFull || (direct && segments > SEGMENTS_INTO_A_TAP))) break;
      count++;
    }
    return count;
  }

  /** Sends all at once. @returns the result for each. */
  async send(sendings: readonly Sending[], random: Random): Promise<Sent[]> {
    const guest = this.#guest;
    const slots: TxSlot[] = [];
    const firsts: number[] = [];
    let page = 0;
    for (const sending of sendings) {
      firsts.push(slots.length);
      slots.push(...layOut(guest, sending, page, random));
      page += sending.pieces.length;
    }
    const from = guest.tx[RSP_PROD];
    guest.send(slots);
    const end = (from + slots.length) >>> 0;
    await settledUntil(
      this.#world.machine,
      'the responses',
      () => guest.tx[RSP_PROD] === end || this.broken !== undefined,
    );
    const responses = guest.txResponses(from);
    const refused = (index: number) =>
      responses.slice(firsts[index], firsts[index + 1]).some(({ status }) => status === RESPONSE_ERROR);
    return this.#outlet === undefined
      ? this.#throughKernel(sendings, refused)
      : outOf(this.#outlet, sendings, refused);
  }

  #throughKernel(sendings: readonly Sending[], refused: (index: number) => boolean): Sent[] {
    const port = this.#world.port(VIF) as TestPort;
    const written = port.written
      .splice(0)
      .map((frame, index) => ({ frame, vnet: vnetOfBytes(port.headers[index]) }));
    port.headers.length = 0;
    const given = new Map(written.map((one) => [markOf(one.frame), one]));
    const out = this.#kernel.pass(written);
    return sendings.map((sending, index) => {
      const one = given.get(sending.mark);
      return {
        sending,
        out: out.get(sending.mark) ?? [],
        ...(one === undefined ? {} : { port: one }),
        refused: refused(index),
      };
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#world.close();
    await this.#outlet?.[Symbol.asyncDispose]();
  }
}

const RSP_PROD = 2;

function tapOutlet(): Outlet {
  makeBridge('frames-vbr');
  return new Outlet('frames-vout', 'frames-vbr');
}

function outOf(outlet: Outlet, sendings: readonly Sending[], refused: (index: number) => boolean): Sent[] {
  const out = new Map<number, Uint8Array[]>();
  group(outlet.take(), out);
  return sendings.map((sending, index) => ({
    sending,
    out: out.get(sending.mark) ?? [],
    refused: refused(index),
  }));
}
