import { createVif, Generator, Netfront } from '../lib/netfront/index.js';
import { readTag, type TrafficTag } from '../lib/netfront/traffic-frames.js';
import { RSP_OKAY } from '../lib/protocol/netif.js';
import { everyNth } from '../lib/xen/model/faults.js';
import type { ModelHypervisor, ModelXen } from '../lib/xen/model/index.js';
import type { ArenaPool } from './arenas.js';
import { type Admission, type Network, SimPort } from './port.js';
import type { FaultPlan, GuestPlan } from './scenario.js';
import { settled } from './settled.js';
import { Stream } from './stream.js';
import { guestXen } from './xen-faults.js';

/** Longer than Netfront waits, twice, for a backend that is dead. */
const CLOSE_MS = 11_000;
const DOMID_FIRST = 7;
/** Connections of one guest, each with frames of its own. */
const CONNECTIONS_MAX = 4;

export interface GuestParts {
  readonly hypervisor: ModelHypervisor;
  readonly arenas: ArenaPool;
  readonly toolstack: ModelXen;
  readonly index: number;
  readonly plan: GuestPlan;
  readonly faults: FaultPlan;
  /** The life that runs, or ran last. */
  readonly lifeNow: () => number;
  /** Which guest a frame's seed belongs to. */
  readonly ownerOf: (seed: number) => number | undefined;
}

/** One connection of the guest: from its beginning to its reboot. */
interface Connection {
  readonly xen: ModelXen;
  readonly port: SimPort;
  readonly generator: Generator;
  readonly fromGuest: Stream;
  front: Netfront | undefined;
}

/** A guest with an oracle for a frontend, its vif, and the network behind it. */
export class SimGuest {
  readonly domid: number;
  readonly vif: string;
  readonly toGuest: Stream;
  readonly connections: Connection[] = [];
  /** What nobody should ever see. */
  readonly faults: string[] = [];
  /** A journal was spoilt when it was needed: the guest may have been answered wrongly, and nobody else. */
  torn = false;
  /** Lives whose journal was spoilt, or went with the guest's connection while no backend ran: what it kept is lost. */
  readonly spoiltAfter = new Set<number>();
  /** Bits flipped in a journal that may have kept frames: their bytes have no check but TCP's own. */
  flipped = false;
  readonly #parts: GuestParts;
  readonly #network: HostNetwork;

  constructor(parts: GuestParts) {
    this.#parts = parts;
    this.domid = DOMID_FIRST + parts.index;
    this.vif = `vif${this.domid}.0`;
    const { mtuBytes } = parts.plan;
    const seed = seedOf(parts.index, CONNECTIONS_MAX);
    this.toGuest = new Stream({ name: `${this.vif} to-guest`, seed, mtuBytes });
    this.#network = new HostNetwork(this, parts);
  }

  get front(): Netfront | undefined {
    return this.#current.front;
  }

  get #current(): Connection {
    return this.connections.at(-1)!;
  }

  /** The toolstack makes the vif, and the guest begins to connect. */
  async create(): Promise<void> {
    const { domid } = this;
    const mac = `00:16:3e:00:00:${domid.toString(16).padStart(2, '0')}`;
    const { hypervisor, toolstack } = this.#parts;
    await settled(hypervisor, createVif(toolstack.store, { domid, handle: 0, mac }));
    this.#connect();
  }

  /** The host's end, for a life of the backend. */
  hostPort(life: ModelXen): SimPort {
    const port = new SimPort(this.vif, this.#network, life);
    this.#network.port = port;
    return port;
  }

  /** Frames on their way in both directions. */
  burst(): void {
    const { fromGuest, toGuest } = this.#parts.plan;
    this.#current.generator.more(fromGuest);
    this.#current.port.announce();
    this.#network.generator.more(toGuest);
    this.#network.port?.announce();
  }

  /** Nothing waits on either side. */
  get still(): boolean {
    const { front, generator } = this.#current;
    return (
      front !== undefined && front.outstanding === 0 && !generator.ready && !this.#network.generator.ready
    );
  }

  async reboot(how: 'closes' | 'dies'): Promise<void> {
    if (this.connections.length === CONNECTIONS_MAX) return;
    const { hypervisor } = this.#parts;
    const { front, xen } = this.#current;
    if (how === 'closes' && front !== undefined) {
      const closed = await settled(hypervisor, front.close(), CLOSE_MS);
      if (!closed) this.faults.push(`${this.vif}: the guest cannot close`);
    } else hypervisor.kill(xen);
    // What was on its way to the guest is for nobody now.
    this.toGuest.excuseBelow(this.#network.generator.sent);
    if (how === 'closes' && front !== undefined) this.#connect();
    else await this.create();
  }

  /** A frame that the host got. */
  cameToHost(bytes: Uint8Array, start: number, length: number): void {
    const tag = this.#tagOf(bytes, start, length);
    const stream = this.connections.find(({ fromGuest }) => fromGuest.seed === tag?.seed)?.fromGuest;
    if (tag !== undefined && stream !== undefined) {
      stream.take(bytes, start, length, tag, this.#parts.lifeNow());
    } else this.#stranger(tag, 'the host');
  }

  /** A frame that the guest got. */
  cameToGuest(bytes: Uint8Array, start: number, length: number): void {
    const tag = this.#tagOf(bytes, start, length);
    if (tag?.seed === this.toGuest.seed) {
      this.toGuest.take(bytes, start, length, tag, this.#parts.lifeNow());
    } else this.#stranger(tag, 'the guest');
  }

  /** The stream that a frame belongs to, of whichever direction. */
  streamOf(
    bytes: Uint8Array,
    start: number,
    length: number,
  ): { stream: Stream; sequence: number } | undefined {
    const tag = this.#tagOf(bytes, start, length);
    const streams = [this.toGuest, ...this.connections.map(({ fromGuest }) => fromGuest)];
    const stream = streams.find(({ seed }) => seed === tag?.seed);
    return tag === undefined || stream === undefined ? undefined : { stream, sequence: tag.sequence };
  }

  #tagOf(bytes: Uint8Array, start: number, length: number): TrafficTag | undefined {
    const tag = { seed: 0, sequence: 0 };
    return readTag(bytes, start, length, tag) ? tag : undefined;
  }

  /** Another guest's frame is a leak whatever happened; noise is what a torn ring may give of the guest's own memory. */
  #stranger(tag: TrafficTag | undefined, who: string): void {
    const owner = tag === undefined ? undefined : this.#parts.ownerOf(tag.seed);
    if (owner !== undefined && owner !== this.#parts.index) {
      this.faults.push(`${this.vif}: ${who} was shown a frame of guest ${owner}`);
    } else if (!this.torn && !this.flipped)
      this.faults.push(`${this.vif}: ${who} got a frame that nobody sent`);
  }

  #connect(): void {
    const { hypervisor, index, plan, lifeNow } = this.#parts;
    const { mtuBytes, sizes, lateMs } = plan;
    const number = this.connections.length;
    const seed = seedOf(index, number);
    const xen = hypervisor.open(this.domid);
    const generator = new Generator({ seed, sizes, mtuBytes, frames: 0 });
    const network: Network = {
      generator,
      take: (bytes, start, length) => this.cameToGuest(bytes, start, length),
      left: () => {},
      admit: () => 'goes',
      refused: () => {},
    };
    const fromGuest = new Stream({ name: `${this.vif} from-guest, connection ${number}`, seed, mtuBytes });
    const port = new SimPort(`guest ${index}`, network, xen);
    const connection: Connection = { xen, port, generator, fromGuest, front: undefined };
    this.connections.push(connection);
    const { splitChannels, scatterGather, buffersMax, ringStart } = plan;
    const gso = { sg: scatterGather, gsoV4: scatterGather, gsoV6: scatterGather };
    Netfront.connect({
      xen: guestXen(xen, this.#parts.arenas, lateMs),
      domid: this.domid,
      handle: 0,
      port,
      ringStart,
      splitChannels,
      buffersMax,
      features: gso,
      onAnswered: (frame, status) => {
        fromGuest.due(frame, lifeNow());
        if (status !== RSP_OKAY) fromGuest.excuse(frame);
      },
    }).then(
      (front) => {
        connection.front = front;
      },
      (error) => {
        if (xen.alive) this.faults.push(`${this.vif}: the guest cannot connect: ${error}`);
      },
    );
  }
}

/** Seeds tell guests, connections and directions apart; few, since each has a pattern of its own. */
function seedOf(guest: number, connection: number): number {
  return 1 + guest * (CONNECTIONS_MAX + 1) + connection;
}

/** @returns the guest that a seed belongs to, of `guests`. */
export function guestOfSeed(seed: number, guests: number): number | undefined {
  const guest = Math.floor((seed - 1) / (CONNECTIONS_MAX + 1));
  return guest >= 0 && guest < guests ? guest : undefined;
}

/** What is behind a vif: it outlives the backend's lives, as a persistent tap and its bridge do. */
class HostNetwork implements Network {
  readonly generator: Generator;
  port: SimPort | undefined;
  readonly #guest: SimGuest;
  readonly #lifeNow: () => number;
  readonly #full: () => boolean;
  readonly #refuses: () => boolean;

  constructor(guest: SimGuest, { index, plan, faults, lifeNow }: GuestParts) {
    const { sizes, mtuBytes } = plan;
    this.generator = new Generator({ seed: seedOf(index, CONNECTIONS_MAX), sizes, mtuBytes, frames: 0 });
    this.#guest = guest;
    this.#lifeNow = lifeNow;
    this.#full = everyNth(faults.portFullEvery || undefined);
    this.#refuses = everyNth(faults.portRefusesEvery || undefined);
  }

  take(bytes: Uint8Array, start: number, length: number): void {
    this.#guest.cameToHost(bytes, start, length);
  }

  left(bytes: Uint8Array, start: number, length: number): void {
    const found = this.#guest.streamOf(bytes, start, length);
    found?.stream.due(found.sequence, this.#lifeNow());
  }

  admit(): Admission {
    if (this.#full()) return 'full';
    return this.#refuses() ? 'refused' : 'goes';
  }

  refused(bytes: Uint8Array, start: number, length: number): void {
    const found = this.#guest.streamOf(bytes, start, length);
    found?.stream.excuse(found.sequence);
  }
}
