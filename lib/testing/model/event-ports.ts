import { VifdError } from '../../errors.js';
import { everyNth } from './faults.js';
import type { Instance } from './instance.js';
import type { RunQueue } from './queue.js';
import { NumberPool, type Random } from './random.js';

/** log2 of the ports of a domain (2-level event channels, xen/event_channel.h). */
const PORT_BITS = 12;

/** The process that handles the events of a port. */
interface Taker {
  readonly instance: Instance;
  readonly onEvent: () => void;
}

/** One end of a channel, in the table of its domain. */
export interface Port {
  readonly number: number;
  readonly domid: number;
  /**
   * The processes that have the handle open by which it was bound, and handle its events. One of them reads each event: here it is the oldest
   * that runs.
   */
  takers: readonly Taker[];
  /** The only domain that may be at the other end. */
  readonly remoteDomid: number;
  remote: Port | undefined;
  pending: boolean;
  masked: boolean;
  open: boolean;
  /** The process for which a delivery waits in the run queue. */
  queuedFor: Taker | undefined;
}

interface Domain {
  readonly pool: NumberPool;
  readonly ports: Map<number, Port>;
}

/** The event channels of all domains. */
export class EventPorts {
  readonly #queue: RunQueue;
  readonly #random: Random;
  readonly #strays: () => boolean;
  readonly #domains = new Map<number, Domain>();

  constructor(queue: RunQueue, random: Random, strayEvery: number | undefined) {
    if (strayEvery !== undefined && strayEvery < 2) {
      throw new VifdError('ERR_ARGUMENT', `strayEventEvery is ${strayEvery}: below 2 events would never end`);
    }
    this.#queue = queue;
    this.#random = random;
    this.#strays = everyNth(strayEvery);
  }

  addDomain(domid: number): void {
    if (this.#domains.has(domid)) return;
    this.#domains.set(domid, { pool: new NumberPool(this.#random, PORT_BITS, 1), ports: new Map() });
  }

  /** @returns the port that `remoteDomid` has left unbound for `domid`; undefined if there is none of that number. */
  unbound(remoteDomid: number, number: number, domid: number): Port | undefined {
    const port = this.#domains.get(remoteDomid)?.ports.get(number);
    return port?.remoteDomid === domid && port.remote === undefined ? port : undefined;
  }

  open(instance: Instance, remoteDomid: number, onEvent: () => void, remote: Port | undefined): Port {
    const { domid } = instance;
    const domain = this.#domain(domid);
    const number = domain.pool.take();
    if (number === undefined) throw new VifdError('ERR_XEN_EVENT', 'no event channel is left: close some');
    const flags = { pending: false, masked: false, open: true, queuedFor: undefined };
    const port: Port = { number, domid, takers: [{ instance, onEvent }], remoteDomid, remote, ...flags };
    domain.ports.set(number, port);
    if (remote !== undefined) {
      remote.remote = port;
      this.raise(port);
    }
    return port;
  }

  /** Has another process handle the events of a port. An event that an earlier one, which is gone, has not read yet is its. */
  take(port: Port, instance: Instance, onEvent: () => void): void {
    port.takers = [...port.takers, { instance, onEvent }];
    this.#deliverLater(port);
  }

  /** A process that handles the events of a port is gone; the port stays bound. */
  leave(port: Port, instance: Instance): void {
    port.takers = port.takers.filter((taker) => taker.instance !== instance);
    this.#deliverLater(port);
  }

  raise(port: Port): void {
    port.pending = true;
    this.#deliverLater(port);
  }

  unmask(port: Port): void {
    port.masked = false;
    this.#deliverLater(port);
  }

  close(port: Port): void {
    if (!port.open) return;
    port.open = false;
    if (port.remote !== undefined) port.remote.remote = undefined;
    port.remote = undefined;
    const domain = this.#domain(port.domid);
    domain.ports.delete(port.number);
    domain.pool.give(port.number);
  }

  #deliverLater(port: Port): void {
    const taker = port.takers.find(({ instance }) => instance.alive);
    const isQueued = port.queuedFor?.instance.alive === true;
    if (taker === undefined || !port.open || !port.pending || port.masked || isQueued) return;
    port.queuedFor = taker;
    this.#queue.push({
      instance: taker.instance,
      lane: port,
      what: `event on port ${port.number}`,
      run: () => this.#deliver(port, taker),
    });
  }

  #deliver(port: Port, taker: Taker): void {
    if (port.queuedFor !== taker) return;
    port.queuedFor = undefined;
    if (!port.open || !port.pending || port.masked) return;
    port.pending = this.#strays();
    port.masked = true;
    taker.onEvent();
  }

  #domain(domid: number): Domain {
    return this.#domains.get(domid) as Domain;
  }
}
