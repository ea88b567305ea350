import type { Vif } from '../lib/netback/public-vif.js';
import type { Port } from '../lib/ports/port.js';
import { RSP_OKAY } from '../lib/protocol/netif.js';
import { backendVifPath, XenbusState } from '../lib/protocol/xenbus.js';
import type { ModelXen } from '../lib/testing/model/index.js';
import { createVif, Generator, ManyQueues, Netfront } from '../lib/testing/netfront/index.js';
import { readTag, type TrafficTag } from '../lib/testing/netfront/traffic-frames.js';
import type { Xen } from '../lib/xen/seam.js';
import { settled } from '../worlds/model/settled.js';
import type { Connection, GuestParts } from './guest-parts.js';
import { HostNetwork } from './host-network.js';
import { MulticastProgram } from './multicast.js';
import { type Network, SimPort } from './port.js';
import { Probes } from './probes.js';
import { ControlProgram } from './programs.js';
import { RateMeter } from './rate.js';
import { SameNames } from './same-names.js';
import type { GuestPlan } from './scenario.js';
import { SimSegments } from './segments.js';
import { CONNECTIONS_MAX, lengthOf, seedOf } from './sent-frames.js';
import { Stream } from './stream.js';
import { guestXen } from './xen-faults.js';

/** Longer than Netfront waits for a dead backend, twice. */
const CLOSE_MS = 11_000;
/** Longer than a run is without a backend, while other guests close. */
const NO_BACKEND_MS = 10 * CLOSE_MS;
const DOMID_FIRST = 7;

/** A guest with an oracle for a frontend, its vif, and the network behind it. */
export class SimGuest {
  readonly domid: number;
  readonly vif: string;
  /** By queue. */
  readonly toGuest: readonly Stream[];
  readonly connections: Connection[] = [];
  /** Broken promises, as texts. */
  readonly faults: string[] = [];
  /** Whether a journal was spoilt while it was needed: this guest, and no other, may have got wrong responses. */
  torn = false;
  /** Processes whose journal was spoilt, or was lost with the guest's connection while no backend ran: pending frames in it are lost. */
  readonly spoiltAfter = new Set<number>();
  /** Whether a journal was spoilt, or could not be opened: the next process may be wrong about the beginning of a connection. */
  harmed = false;
  /** Multicast frames from the host. */
  readonly probes: Probes;
  /** Undefined for a guest that gets frames as they were sent. */
  readonly segments: SimSegments | undefined;
  /** Bits flipped in a journal that may have pending frames: their bytes have no checksum but TCP's own. */
  flipped = false;
  /** The vifs that this process serves for it, and the values of their counters, which outlive a process, when it attached. */
  readonly #served = new Map<Vif, number>();
  #droppedBefore = 0;
  readonly #parts: GuestParts;
  readonly #networks: readonly HostNetwork[];
  /** The process that attached last, and its vif. */
  #vif: { readonly process: number; readonly vif: Vif } | undefined;
  #names: SameNames | undefined;

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
    this.probes = new Probes(this.domid);
    if (parts.plan.cut) this.segments = new SimSegments(this.toGuest[0], parts.plan.sizes, mtuBytes);
    this.#networks = this.#queues.map((queue) => {
      const seed = seedOf(parts.index, CONNECTIONS_MAX, queue);
      return new HostNetwork(seed, parts.plan, parts.faults, {
        take: (frame, header) => this.cameToHost(queue, frame, header),
        left: (frame) =>
          this.#whenKnown(frame, (stream, sequence) =>
            stream.due(sequence, parts.processNow(), parts.stepNow()),
          ),
        refused: (frame) => this.#whenKnown(frame, (stream, sequence) => stream.excuse(sequence)),
      });
    });
  }

  get plan(): GuestPlan {
    return this.#parts.plan;
  }

  get front(): Netfront | undefined {
    return this.#current.front;
  }

  /** Returns how many frames to the guest were dropped: those that found no room in a queue that it chose, and others. */
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

  /** Makes the vif as the toolstack does, and begins to connect the guest. */
  async create(): Promise<void> {
    const { domid } = this;
    const { rate } = this.#parts.plan;
    const mac = `00:16:3e:00:00:${domid.toString(16).padStart(2, '0')}`;
    const { hypervisor, toolstack } = this.#parts;
    await settled(hypervisor, createVif(toolstack.store, { domid, handle: 0, mac }));
    if (rate !== undefined) {
      const value = `${rate.bytes},${rate.intervalMs * 1000}`;
      await settled(hypervisor, toolstack.store.write(`${backendVifPath(0, domid, 0)}/rate`, value));
    }
    this.#connect(false);
  }

  /** Returns the host's end, for a backend process. */
  hostPort(xen: ModelXen): Port {
    return new ManyQueues(
      this.#networks.map((network) => {
        network.port = new SimPort(this.vif, network, xen);
        return network.port;
      }),
    );
  }

  /** Sends frames in both directions. */
  burst(): void {
    const { fromGuest } = this.#parts.plan;
    const { generators, ports } = this.#current;
    for (const queue of this.#queues) {
      generators[queue].more(fromGuest);
      ports[queue].announce();
    }
    this.hostSends();
    this.#current.program?.next();
    this.#current.multicast?.next();
  }

  /** Sends frames from the host. Frames that the port takes before a process moves frames of the connection need not arrive. */
  hostSends(): void {
    for (const [queue, network] of this.#networks.entries()) {
      network.send(this.#parts.plan.toGuest);
      if (network.linkUp && !this.#current.begun) this.toGuest[queue].excuseBelow(network.entered);
    }
  }

  /** Called when a process has attached to the guest's connection. */
  attached(vif: Vif): void {
    if (!this.#served.has(vif)) this.#served.set(vif, vif.stats.toGuest.dropped);
    this.#vif = { process: this.#parts.processNow(), vif };
  }

  /** Called when the attached process moves frames. */
  begun(): void {
    this.#current.begun = true;
  }

  /** Called when the process has ended: the next one continues its counters. */
  processEnded(): void {
    this.#droppedBefore = this.dropped;
    this.#served.clear();
  }

  /** Records that the journal's data of the connection, and its pending frames, may be lost from this process on. */
  spoil(process: number): void {
    this.spoiltAfter.add(process);
    this.#current.spoiltAfter.add(process);
  }

  /** Called when no process is killed any more. */
  begunLast(): void {
    this.#current.meter?.mark();
  }

  /** Returns the multicast list that the running process has for the guest; undefined if it cannot be compared with the guest's. */
  get #multicastList(): readonly string[] | undefined {
    const { multicast, spoiltAfter } = this.#current;
    if (multicast === undefined || multicast.size === 0 || spoiltAfter.size > 0) return undefined;
    if (!this.still || this.#vif?.process !== this.#parts.processNow()) return undefined;
    return this.#vif.vif.show().connection?.multicast.addresses;
  }

  /**
   * While no event waits: compares the running process's multicast list with the one that follows from its responses, and sends multicast
   * frames.
   * @returns whether there are any: judge them when they had time to come.
   */
  probe(): boolean {
    const list = this.#multicastList;
    const { multicast } = this.#current;
    if (list === undefined || multicast === undefined) return false;
    for (const what of multicast.differences(list)) this.faults.push(`${this.vif}: ${what}`);
    for (const { address, wanted } of multicast.probes)
      this.#networks[0].put(this.probes.frame(address, wanted));
    return true;
  }

  /** @param mayMiss whether the process ended meanwhile. */
  judgeProbes(mayMiss: boolean): void {
    this.#networks[0].takeBack();
    this.probes.judge(mayMiss || this.#parts.faults.grantFailsEvery > 0);
  }

  /** Whether nothing waits on either side. */
  get still(): boolean {
    const { front, generators, program, multicast } = this.#current;
    const programmed = program?.still === true && multicast?.still === true;
    const sent = generators.every(({ ready }) => !ready) && this.#networks.every(({ still }) => still);
    return programmed && sent && front?.outstanding === 0;
  }

  async reboot(how: 'closes' | 'dies'): Promise<void> {
    if (this.connections.length === CONNECTIONS_MAX) return;
    const { hypervisor } = this.#parts;
    const { front, xen } = this.#current;
    if (how === 'closes' && front !== undefined) {
      const closed = await settled(hypervisor, front.close(), CLOSE_MS);
      if (!closed) this.faults.push(`${this.vif}: the guest cannot close`);
    } else hypervisor.kill(xen);
    // The frames in the port were sent before the new connection.
    for (const queue of this.#queues) this.toGuest[queue].excuseBelow(this.#networks[queue].entered);
    if (how === 'closes' && front !== undefined) this.#connect(await this.#connectsAtOnce());
    else await this.create();
  }

  /** The guest connects to a backend that closes its side as Linux does. */
  async #connectsAtOnce(): Promise<boolean> {
    const { hypervisor, plan, toolstack } = this.#parts;
    const reading = toolstack.store.read(`${backendVifPath(0, this.domid, 0)}/state`);
    await settled(hypervisor, reading);
    const connectable = [XenbusState.InitWait, XenbusState.Connected].map(String);
    return plan.atOnce && connectable.includes((await reading) ?? '');
  }

  /** Checks a frame that the host got, by the queue in which it was sent. */
  cameToHost(queue: number, frame: Uint8Array, header: Uint8Array): void {
    const tag = this.#tagOf(frame);
    const streams = this.connections.map(({ fromGuest }) => fromGuest[queue]);
    const stream = streams.find(({ seed }) => seed === tag?.seed);
    if (tag !== undefined && stream !== undefined) {
      stream.take(frame, header, tag, this.#parts.processNow());
      const connection = this.connections.find(({ fromGuest }) => fromGuest[queue] === stream);
      connection?.meter?.note(queue, tag.sequence);
    } else this.#stranger(tag, 'the host');
  }

  /** Checks a frame that the guest got, by the queue in which it was sent, or that the guest chose. */
  cameToGuest(queue: number, frame: Uint8Array, header: Uint8Array): void {
    if (this.probes.take(frame) || this.segments?.take(frame, this.#parts.processNow())) return;
    const tag = this.#tagOf(frame);
    const stream = this.toGuest.find(
      ({ seed, spread }, sent) => seed === tag?.seed && (spread || sent === queue),
    );
    if (tag !== undefined && stream !== undefined) {
      stream.take(frame, header, tag, this.#parts.processNow(), stream.spread ? queue : 0);
    } else this.#stranger(tag, 'the guest');
  }

  /** Returns the stream that a frame belongs to, in either direction. */
  streamOf(frame: Uint8Array): { stream: Stream; sequence: number } | undefined {
    const tag = this.#tagOf(frame);
    const streams = [...this.toGuest, ...this.connections.flatMap(({ fromGuest }) => fromGuest)];
    const stream = streams.find(({ seed }) => seed === tag?.seed);
    return tag === undefined || stream === undefined ? undefined : { stream, sequence: tag.sequence };
  }

  #whenKnown(frame: Uint8Array, then: (stream: Stream, sequence: number) => void): void {
    const found = this.streamOf(frame);
    if (found !== undefined) then(found.stream, found.sequence);
  }

  #tagOf(frame: Uint8Array): TrafficTag | undefined {
    const tag = { seed: 0, sequence: 0 };
    return readTag(frame, 0, frame.length, tag) ? tag : undefined;
  }

  /** Another guest's frame is a leak in any case. Noise may come from the guest's own memory if a ring is torn. */
  #stranger(tag: TrafficTag | undefined, who: string): void {
    const owner = tag === undefined ? undefined : this.#parts.ownerOf(tag.seed);
    if (owner !== undefined && owner !== this.#parts.index) {
      this.faults.push(`${this.vif}: ${who} was shown a frame of guest ${owner}`);
    } else if (!this.torn && !this.flipped)
      this.faults.push(`${this.vif}: ${who} got a frame that was never sent`);
  }

  /** @param atOnce connects in any state of the backend's node. */
  #connect(atOnce: boolean): void {
    const { hypervisor, index, plan, processNow, toolstack } = this.#parts;
    const { mtuBytes, sizes } = plan;
    const number = this.connections.length;
    const reuses = plan.names === 'same' && number > 0 && this.#current.xen.alive;
    const xen = reuses ? this.#current.xen : hypervisor.open(this.domid);
    const seeds = this.#queues.map((queue) => seedOf(index, number, queue));
    const generators = seeds.map((seed) => new Generator({ seed, sizes, mtuBytes, frames: 0 }));
    const fromGuest = seeds.map((seed, queue) => {
      const name = `${this.vif} from-guest, connection ${number}${this.#where(queue)}`;
      return new Stream({ name, seed, mtuBytes });
    });
    const ports = generators.map((generator, queue) => {
      const network: Network = {
        linkUp: true,
        get ready() {
          return generator.ready;
        },
        read: (reads, options) => generator.fill(reads, options),
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
      multicast: undefined,
      meter: undefined,
      begun: false,
      spoiltAfter: new Set(),
    };
    this.connections.push(connection);
    const { splitChannels, scatterGather, buffersMax, ringStart, control, multicast, rate } = plan;
    const takesGso = scatterGather && !plan.cut;
    const gso = { sg: scatterGather, gsoV4: takesGso, gsoV6: takesGso };
    Netfront.connect({
      xen: this.#doorOf(xen, reuses),
      domid: this.domid,
      handle: 0,
      port: new ManyQueues(ports),
      queues: plan.queues,
      ringStart,
      splitChannels,
      buffersMax,
      control: control !== 'none',
      multicastControl: multicast !== 'none',
      atOnce,
      controlTimeoutMs: NO_BACKEND_MS,
      keepGrants: control === 'staged',
      features: gso,
      onResponse: (frame, status, queue) => {
        connection.meter?.note(queue, frame);
        fromGuest[queue].due(frame, processNow());
        if (status !== RSP_OKAY) fromGuest[queue].excuse(frame);
      },
    }).then(
      (front) => {
        connection.front = front;
        connection.program = new ControlProgram(front, control, plan.queues);
        connection.multicast = new MulticastProgram(front, multicast, plan.queues);
        // The frames in the port were sent before the connection. A connection with the names of the one before may be that one.
        if (!this.harmed && !(reuses && atOnce) && ringStart === 0)
          for (const queue of this.#queues) this.toGuest[queue].forbidBelow(this.#networks[queue].entered);
        if (rate !== undefined)
          connection.meter = new RateMeter(
            rate,
            (sequence) => lengthOf(plan, sequence),
            () => toolstack.clock.now(),
          );
        connection.program.next();
        connection.multicast.next();
      },
      (error) => {
        if (xen.alive) this.faults.push(`${this.vif}: the guest cannot connect: ${error}`);
      },
    );
  }

  /** Returns the grants and channels of a connection. @param reuses the names of the connection before. */
  #doorOf(xen: ModelXen, reuses: boolean): Xen {
    const { plan, arenas } = this.#parts;
    const door = guestXen(xen, arenas, plan.lateMs);
    if (plan.names === 'other' || door.shares === undefined) return door;
    if (reuses) this.#names?.again();
    else this.#names = new SameNames(door.shares, door.events);
    return { ...door, shares: this.#names?.shares, events: this.#names?.events ?? door.events };
  }
}
