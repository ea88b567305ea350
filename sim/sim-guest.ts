import type { Vif } from '../lib/netback/public-vif.js';
import type { Port } from '../lib/ports/port.js';
import { RSP_OKAY } from '../lib/protocol/netif.js';
import { everyNth } from '../lib/testing/model/faults.js';
import type { ModelHypervisor, ModelXen } from '../lib/testing/model/index.js';
import { createVif, Generator, ManyQueues, Netfront } from '../lib/testing/netfront/index.js';
import { readTag, type TrafficTag } from '../lib/testing/netfront/traffic-frames.js';
import { settled } from '../worlds/model/settled.js';
import type { ArenaPool } from './arenas.js';
import { type Admission, type Network, SimPort } from './port.js';
import { ControlProgram } from './programs.js';
import { type FaultPlan, type GuestPlan, SIM_QUEUES_MAX } from './scenario.js';
import { Stream } from './stream.js';
import { guestXen } from './xen-faults.js';

/** Longer than Netfront waits, twice, for a backend that is dead. */
const CLOSE_MS = 11_000;
/** Longer than a run has no backend, while other guests close. */
const NO_BACKEND_MS = 10 * CLOSE_MS;
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
  /** By queue. */
  readonly ports: readonly SimPort[];
  readonly generators: readonly Generator[];
  readonly fromGuest: readonly Stream[];
  front: Netfront | undefined;
  program: ControlProgram | undefined;
  /** A process attached to it. */
  attached: boolean;
}

/** A guest with an oracle for a frontend, its vif, and the network behind it. */
export class SimGuest {
  readonly domid: number;
  readonly vif: string;
  /** By queue. */
  readonly toGuest: readonly Stream[];
  readonly connections: Connection[] = [];
  /** What nobody should ever see. */
  readonly faults: string[] = [];
  /** A journal was spoilt when it was needed: the guest may have been answered wrongly, and nobody else. */
  torn = false;
  /** Lives whose journal was spoilt, or went with the guest's connection while no backend ran: what it kept is lost. */
  readonly spoiltAfter = new Set<number>();
  /** Bits flipped in a journal that may have kept frames: their bytes have no check but TCP's own. */
  flipped = false;
  /** The vifs that this process serves for it, and what their counters had when it attached: they outlive a process. */
  readonly #served = new Map<Vif, number>();
  #droppedBefore = 0;
  readonly #parts: GuestParts;
  readonly #networks: readonly HostNetwork[];

  constructor(parts: GuestParts) {
    this.#parts = parts;
    this.domid = DOMID_FIRST + parts.index;
    this.vif = `vif${this.domid}.0`;
    const { mtuBytes, control, queues } = parts.plan;
    const spread = control === 'hash' && queues > 1;
    this.toGuest = this.#queues.map((queue) => {
      const seed = seedOf(parts.index, CONNECTIONS_MAX, queue);
      return new Stream({ name: `${this.vif} to-guest${this.#where(queue)}`, seed, mtuBytes, spread });
    });
    this.#networks = this.#queues.map((queue) => new HostNetwork(this, parts, queue));
  }

  get front(): Netfront | undefined {
    return this.#current.front;
  }

  /** Frames to the guest for which a queue that it chose had no room, and others that were counted as dropped. */
  get dropped(): number {
    let sum = this.#droppedBefore;
    for (const [{ stats }, before] of this.#served) sum += stats.toGuest.dropped - before;
    return sum;
  }

  get #queues(): number[] {
    return Array.from({ length: this.#parts.plan.queues }, (_, queue) => queue);
  }

  #where(queue: number): string {
    return this.#parts.plan.queues > 1 ? `, queue ${queue}` : '';
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
  hostPort(life: ModelXen): Port {
    return new ManyQueues(
      this.#networks.map((network) => {
        network.port = new SimPort(this.vif, network, life);
        return network.port;
      }),
    );
  }

  /** Frames on their way in both directions. */
  burst(): void {
    const { fromGuest, toGuest } = this.#parts.plan;
    const { generators, ports } = this.#current;
    for (const queue of this.#queues) {
      generators[queue].more(fromGuest);
      ports[queue].announce();
      this.#send(queue, toGuest);
    }
    this.#current.program?.next();
  }

  /** The host sends frames. Those that the port takes before a process has attached to the connection need not arrive. */
  #send(queue: number, frames: number): void {
    const network = this.#networks[queue];
    network.send(frames);
    if (network.linkUp && !this.#current.attached) this.toGuest[queue].excuseBelow(network.offered);
    network.port?.announce();
  }

  /** A process attached to the guest's connection. */
  attached(vif: Vif): void {
    if (!this.#served.has(vif)) this.#served.set(vif, vif.stats.toGuest.dropped);
    this.#current.attached = true;
  }

  /** The process has ended: the next one counts where it did. */
  processEnded(): void {
    this.#droppedBefore = this.dropped;
    this.#served.clear();
  }

  /** Nothing waits on either side. */
  get still(): boolean {
    const { front, generators, program } = this.#current;
    const left = [...generators, ...this.#networks.map(({ generator }) => generator)];
    return program?.still === true && front?.outstanding === 0 && left.every(({ ready }) => !ready);
  }

  async reboot(how: 'closes' | 'dies'): Promise<void> {
    if (this.connections.length === CONNECTIONS_MAX) return;
    const { hypervisor } = this.#parts;
    const { front, xen } = this.#current;
    if (how === 'closes' && front !== undefined) {
      const closed = await settled(hypervisor, front.close(), CLOSE_MS);
      if (!closed) this.faults.push(`${this.vif}: the guest cannot close`);
    } else hypervisor.kill(xen);
    // Frames on their way to the guest need not arrive any more. With the link down only frames that were read are on their way.
    for (const queue of this.#queues) {
      const { linkUp, offered, generator } = this.#networks[queue];
      this.toGuest[queue].excuseBelow(linkUp ? offered : generator.sent);
    }
    if (how === 'closes' && front !== undefined) this.#connect();
    else await this.create();
  }

  /** A frame that the host got, by the queue that it was sent in. */
  cameToHost(queue: number, frame: Uint8Array, header: Uint8Array): void {
    const tag = this.#tagOf(frame);
    const streams = this.connections.map(({ fromGuest }) => fromGuest[queue]);
    const stream = streams.find(({ seed }) => seed === tag?.seed);
    if (tag !== undefined && stream !== undefined) {
      stream.take(frame, header, tag, this.#parts.lifeNow());
    } else this.#stranger(tag, 'the host');
  }

  /** A frame that the guest got, by the queue that it was sent in, or one that the guest chose. */
  cameToGuest(queue: number, frame: Uint8Array, header: Uint8Array): void {
    const tag = this.#tagOf(frame);
    const stream = this.toGuest.find(
      ({ seed, spread }, sent) => seed === tag?.seed && (spread || sent === queue),
    );
    if (tag !== undefined && stream !== undefined) {
      stream.take(frame, header, tag, this.#parts.lifeNow(), stream.spread ? queue : 0);
    } else this.#stranger(tag, 'the guest');
  }

  /** The stream that a frame belongs to, of whichever direction. */
  streamOf(frame: Uint8Array): { stream: Stream; sequence: number } | undefined {
    const tag = this.#tagOf(frame);
    const streams = [...this.toGuest, ...this.connections.flatMap(({ fromGuest }) => fromGuest)];
    const stream = streams.find(({ seed }) => seed === tag?.seed);
    return tag === undefined || stream === undefined ? undefined : { stream, sequence: tag.sequence };
  }

  #tagOf(frame: Uint8Array): TrafficTag | undefined {
    const tag = { seed: 0, sequence: 0 };
    return readTag(frame, 0, frame.length, tag) ? tag : undefined;
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
    const xen = hypervisor.open(this.domid);
    const seeds = this.#queues.map((queue) => seedOf(index, number, queue));
    const generators = seeds.map((seed) => new Generator({ seed, sizes, mtuBytes, frames: 0 }));
    const fromGuest = seeds.map((seed, queue) => {
      const name = `${this.vif} from-guest, connection ${number}${this.#where(queue)}`;
      return new Stream({ name, seed, mtuBytes });
    });
    const ports = generators.map((generator, queue) => {
      const network: Network = {
        generator,
        linkUp: true,
        take: (frame, header) => this.cameToGuest(queue, frame, header),
        left: () => {},
        admit: () => 'goes',
        refused: () => {},
      };
      return new SimPort(`guest ${index}`, network, xen);
    });
    const connection: Connection = {
      xen,
      ports,
      generators,
      fromGuest,
      front: undefined,
      program: undefined,
      attached: false,
    };
    this.connections.push(connection);
    const { splitChannels, scatterGather, buffersMax, ringStart, control } = plan;
    const gso = { sg: scatterGather, gsoV4: scatterGather, gsoV6: scatterGather };
    Netfront.connect({
      xen: guestXen(xen, this.#parts.arenas, lateMs),
      domid: this.domid,
      handle: 0,
      port: new ManyQueues(ports),
      queues: plan.queues,
      ringStart,
      splitChannels,
      buffersMax,
      control: control !== 'none',
      controlTimeoutMs: NO_BACKEND_MS,
      keepGrants: control === 'staged',
      features: gso,
      onAnswered: (frame, status, queue) => {
        fromGuest[queue].due(frame, lifeNow());
        if (status !== RSP_OKAY) fromGuest[queue].excuse(frame);
      },
    }).then(
      (front) => {
        connection.front = front;
        connection.program = new ControlProgram(front, control, plan.queues);
        connection.program.next();
      },
      (error) => {
        if (xen.alive) this.faults.push(`${this.vif}: the guest cannot connect: ${error}`);
      },
    );
  }
}

/** Seeds tell guests, connections, queues and directions apart; few, since each has a pattern of its own. */
function seedOf(guest: number, connection: number, queue: number): number {
  return 1 + guest * SEEDS_OF_GUEST + connection * SIM_QUEUES_MAX + queue;
}

const SEEDS_OF_GUEST = (CONNECTIONS_MAX + 1) * SIM_QUEUES_MAX;

/** @returns the guest that a seed belongs to, of `guests`. */
export function guestOfSeed(seed: number, guests: number): number | undefined {
  const guest = Math.floor((seed - 1) / SEEDS_OF_GUEST);
  return guest >= 0 && guest < guests ? guest : undefined;
}

/** What is behind a queue of a vif: it outlives the backend's lives, as a persistent tap and its bridge do. */
class HostNetwork implements Network {
  readonly generator: Generator;
  linkUp = false;
  port: SimPort | undefined;
  /** Frames that the host has sent so far, or sends once the link is up. */
  offered = 0;
  readonly #guest: SimGuest;
  readonly #lifeNow: () => number;
  readonly #full: () => boolean;
  readonly #refuses: () => boolean;

  readonly #queue: number;

  constructor(guest: SimGuest, { index, plan, faults, lifeNow }: GuestParts, queue: number) {
    const { sizes, mtuBytes } = plan;
    const seed = seedOf(index, CONNECTIONS_MAX, queue);
    this.generator = new Generator({ seed, sizes, mtuBytes, frames: 0 });
    this.#queue = queue;
    this.#guest = guest;
    this.#lifeNow = lifeNow;
    this.#full = everyNth(faults.portFullEvery || undefined);
    this.#refuses = everyNth(faults.portRefusesEvery || undefined);
  }

  send(frames: number): void {
    this.offered += frames;
    this.generator.more(frames);
  }

  take(frame: Uint8Array, header: Uint8Array): void {
    this.#guest.cameToHost(this.#queue, frame, header);
  }

  left(frame: Uint8Array): void {
    const found = this.#guest.streamOf(frame);
    found?.stream.due(found.sequence, this.#lifeNow());
  }

  admit(): Admission {
    if (this.#full()) return 'full';
    return this.#refuses() ? 'refused' : 'goes';
  }

  refused(frame: Uint8Array): void {
    const found = this.#guest.streamOf(frame);
    found?.stream.excuse(found.sequence);
  }
}
