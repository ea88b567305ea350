import { VifdError } from '../../errors.js';
import type { ChannelFaultListener, EventChannel, Events } from '../../xen/seam.js';
import { everyNth, type HostOf } from './faults.js';
import type { Instance } from './instance.js';
import type { RunQueue } from './queue.js';
import { NumberPool, type Random } from './random.js';

/** log2 of the ports of a domain (2-level event channels, xen/event_channel.h). */
const PORT_BITS = 12;

/** One end of a channel, in the table of its domain. */
interface Port {
  readonly number: number;
  readonly instance: Instance;
  readonly onEvent: () => void;
  /** The only domain that may be at the other end. */
  readonly remoteDomid: number;
  remote: Port | undefined;
  pending: boolean;
  masked: boolean;
  open: boolean;
  /** Whether a delivery waits in the run queue. */
  queued: boolean;
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
    const domain = this.#domain(instance.domid);
    const number = domain.pool.take();
    if (number === undefined) throw new VifdError('ERR_XEN_EVENT', 'no event channel is left: close some');
    const flags = { pending: false, masked: false, open: true, queued: false };
    const port: Port = { number, instance, onEvent, remoteDomid, remote, ...flags };
    domain.ports.set(number, port);
    if (remote !== undefined) {
      remote.remote = port;
      this.raise(port);
    }
    return port;
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
    const domain = this.#domain(port.instance.domid);
    domain.ports.delete(port.number);
    domain.pool.give(port.number);
  }

  #deliverLater(port: Port): void {
    if (!port.open || !port.pending || port.masked || port.queued) return;
    port.queued = true;
    this.#queue.push({
      instance: port.instance,
      lane: port,
      what: `event on port ${port.number}`,
      run: () => this.#deliver(port),
    });
  }

  #deliver(port: Port): void {
    port.queued = false;
    if (!port.open || !port.pending || port.masked) return;
    port.pending = this.#strays();
    port.masked = true;
    port.onEvent();
  }

  #domain(domid: number): Domain {
    return this.#domains.get(domid) as Domain;
  }
}

/** The event channels of one instance. */
export class ModelEvents implements Events {
  readonly #instance: Instance;
  readonly #ports: EventPorts;

  readonly #host: HostOf;

  constructor(instance: Instance, ports: EventPorts, host: HostOf) {
    this.#instance = instance;
    this.#ports = ports;
    this.#host = host;
  }

  /** @param _onFault is never called, since no call of a channel fails in the model. */
  bind(
    domid: number,
    remotePort: number,
    onEvent: () => void,
    _onFault?: ChannelFaultListener,
  ): EventChannel {
    this.#instance.step('events.bind');
    this.#host.check('bind', `Binding event channel ${remotePort} of domain ${domid}`);
    const remote = this.#ports.unbound(domid, remotePort, this.#instance.domid);
    if (remote === undefined) {
      throw new VifdError(
        'ERR_XEN_EVENT',
        `domain ${domid} has no port ${remotePort} that waits for domain ${this.#instance.domid}: ` +
          'it is closed, bound already or meant for another domain',
      );
    }
    return new ModelChannel(this.#ports.open(this.#instance, domid, onEvent, remote), this.#ports);
  }

  bindUnbound(domid: number, onEvent: () => void): EventChannel {
    this.#instance.step('events.bindUnbound');
    return new ModelChannel(this.#ports.open(this.#instance, domid, onEvent, undefined), this.#ports);
  }
}

class ModelChannel implements EventChannel {
  readonly port: number;
  readonly #state: Port;
  readonly #ports: EventPorts;
  readonly #withdraw: () => void;

  constructor(state: Port, ports: EventPorts) {
    this.port = state.number;
    this.#state = state;
    this.#ports = ports;
    this.#withdraw = state.instance.hold({
      release: () => ports.close(state),
      leak: () => `open port ${state.number}`,
    });
  }

  notify(): void {
    this.#state.instance.step('events.notify');
    const { remote } = this.#state;
    if (remote !== undefined) this.#ports.raise(remote);
  }

  unmask(): void {
    this.#state.instance.check('events.unmask');
    this.#ports.unmask(this.#state);
  }

  close(): void {
    if (!this.#state.open) return;
    this.#state.instance.step('events.close');
    this.#withdraw();
    this.#ports.close(this.#state);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
