import { errnoName, type NativeEvents, type XenLibraries } from '../../addon.js';
import { Backoff } from '../../backoff.js';
import { hostFault, VifdError } from '../../errors.js';
import type { ChannelFaultListener, EventChannel, LastingEvents, StoredEvents, StoredPort } from '../seam.js';
import { requireDomid } from './check.js';
import { systemClock } from './clock.js';
import { isGuestFault } from './errno.js';
import type { LateEnds } from './late-ends.js';

/** The most ports that one turn of the event loop takes from the kernel; the others wait for the next turn. */
const PORTS_PER_TURN_MAX = 256;

/** Events over libxenevtchn: one handle, whose descriptor this thread's event loop watches. */
export class XenEvents implements LastingEvents {
  readonly #native: NativeEvents;
  readonly #block: Int32Array;
  readonly #channels = new Map<number, XenChannel>();
  readonly #late: LateEnds;
  /** Ports of other domains, `domid:port`, whose channel the host has failed to close so far. */
  readonly #closing = new Set<string>();
  /** Ports that another process has bound by this handle, by their other end, and that nothing has taken over yet. */
  readonly #left: Map<string, number>;
  readonly #resume = new Backoff(systemClock, () => this.#receive(this.#native.resume()));
  /** Whether the host fails to receive events. */
  #deaf = false;
  #disposed = false;

  private constructor(native: NativeEvents, block: Int32Array, late: LateEnds, left: readonly StoredPort[]) {
    this.#native = native;
    this.#late = late;
    this.#block = block;
    this.#left = new Map(left.map(({ domid, remotePort, port }) => [`${domid}:${remotePort}`, port]));
  }

  /**
   * @param stored of another process, whose descriptor stays the caller's.
   * @returns -errno when the device cannot be opened, or the stored handle is of no use.
   */
  static open(libraries: XenLibraries, late: LateEnds, stored?: StoredEvents): XenEvents | number {
    // The event loop runs no handler before this function returns, so `events` is assigned by then.
    let events!: XenEvents;
    const block = new Int32Array(1 + PORTS_PER_TURN_MAX);
    const native = libraries.openEvents(block, () => events.#deliver(), stored?.descriptor);
    if (typeof native === 'number') return native;
    events = new XenEvents(native, block, late, stored?.ports ?? []);
    return events;
  }

  get stored(): StoredEvents {
    const ports = [...this.#channels.values()].flatMap(({ port, remote }): StoredPort[] => {
      if (remote === undefined) return [];
      const [domid, remotePort] = remote.split(':').map(Number);
      return [{ domid, remotePort, port }];
    });
    return { descriptor: this.#native.descriptor(), ports };
  }

  bind(domid: number, remotePort: number, onEvent: () => void, onFault?: ChannelFaultListener): EventChannel {
    this.#check();
    requireDomid(domid);
    const taken = this.#takeOver(`${domid}:${remotePort}`, onEvent, onFault);
    if (taken !== undefined) return taken;
    const port = this.#native.bind(domid, remotePort);
    if (port < 0) {
      const errno = errnoName(port);
      const ours = this.#closing.has(`${domid}:${remotePort}`);
      if (ours || !isGuestFault('bind', port))
        throw hostFault(`Binding event channel ${remotePort} of domain ${domid}`, errno);
      throw new VifdError(
        'ERR_XEN_EVENT',
        `Event channel ${remotePort} of domain ${domid} cannot be bound (${errno}): it is not there, not left for ` +
          'us, or already bound.',
        { errno },
      );
    }
    return this.#add({ port, remote: `${domid}:${remotePort}`, onEvent, onFault });
  }

  bindUnbound(domid: number, onEvent: () => void): EventChannel {
    this.#check();
    requireDomid(domid);
    const port = this.#native.bindUnbound(domid);
    if (port < 0) throw hostFault(`Opening an event channel for domain ${domid}`, errnoName(port));
    return this.#add({ port, remote: undefined, onEvent, onFault: undefined });
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#resume.cancel();
    // Each port by itself, because another process may have the handle open.
    for (const channel of [...this.#channels.values()]) channel.close();
    for (const port of this.#left.values()) this.#native.unbind(port);
    this.#disposed = true;
    this.#native.close();
  }

  /** @returns undefined if no port is stored for this end, or if the stored one is not bound any more. */
  #takeOver(
    remote: string,
    onEvent: () => void,
    onFault: ChannelFaultListener | undefined,
  ): EventChannel | undefined {
    const stored = this.#left.get(remote);
    this.#left.delete(remote);
    if (stored === undefined) return undefined;
    const port = this.#native.adopt(stored);
    if (port < 0) return undefined;
    const channel = this.#add({ port, remote, onEvent, onFault });
    // The process that had it may have read an event without acting on it. The kernel has masked the port then, until `unmask`.
    setImmediate(() => {
      if (this.#channels.get(port) === channel) run(onEvent);
    });
    return channel;
  }

  #check(): void {
    if (this.#disposed) throw new VifdError('ERR_STATE', 'This Xen was closed: open it again.');
  }

  #add(parts: ChannelParts): EventChannel {
    const { port, remote } = parts;
    const channel = new XenChannel(this.#native, parts, () => {
      this.#channels.delete(port);
      const error = this.#late.run(() => {
        // If the handle was closed meanwhile, that has closed its ports.
        const late = this.#disposed ? 0 : this.#native.unbind(port);
        if (late >= 0 && remote !== undefined) this.#closing.delete(remote);
        return late;
      });
      if (error >= 0 || remote === undefined) return;
      this.#closing.add(remote);
      const [domid, remotePort] = remote.split(':');
      const what = `Closing event channel ${remotePort} of domain ${domid}`;
      parts.onFault?.(hostFault(what, errnoName(error)));
    });
    this.#channels.set(port, channel);
    return channel;
  }

  /** Called by the addon when ports have events. */
  #deliver(): void {
    this.#receive(this.#block[0]);
  }

  /** Reports a fault that affects all channels to each of them, or (undefined) its end. */
  #report(fault: VifdError | undefined): void {
    const listeners = [...this.#channels.values()].filter(({ onFault }) => onFault !== undefined);
    for (const { onFault } of listeners) onFault?.(fault);
    if (listeners.length === 0 && fault !== undefined)
      process.emitWarning(fault.message, { code: fault.code });
  }

  /** @param count how many ports are in the block, or -errno. */
  #receive(count: number): void {
    if (this.#disposed) return;
    if (count < 0) {
      this.#deaf = true;
      this.#resume.again();
      const fault = hostFault('Receiving events', errnoName(count));
      this.#report(fault);
      return;
    }
    if (this.#deaf) {
      this.#deaf = false;
      this.#resume.reset();
      this.#report(undefined);
    }
    for (let i = 1; i <= count; i++) {
      // An earlier handler of this turn may have closed the channel.
      const channel = this.#channels.get(this.#block[i]);
      if (channel !== undefined) run(channel.onEvent);
    }
  }
}

/** Runs one handler. If it throws, the other channels still get their events, which the kernel has already masked. */
function run(onEvent: () => void): void {
  try {
    onEvent();
  } catch (error) {
    process.nextTick(() => {
      throw error;
    });
  }
}

interface ChannelParts {
  readonly port: number;
  /** The other end, `domid:port`; undefined for a port that another domain may bind to. */
  readonly remote: string | undefined;
  readonly onEvent: () => void;
  readonly onFault: ChannelFaultListener | undefined;
}

/** Errnos of a call that need no action: the peer is gone, or the handle was closed. */
const HARMLESS = ['EBADF', 'ENOTCONN'];

class XenChannel implements EventChannel {
  readonly port: number;
  readonly remote: string | undefined;
  readonly onEvent: () => void;
  readonly onFault: ChannelFaultListener | undefined;
  readonly #native: NativeEvents;
  readonly #unbind: () => void;
  /** A notification failed and must be repeated: without it the guest would wait for ever. */
  #notifies = false;
  #unmasks = false;
  #open = true;
  readonly #retry = new Backoff(systemClock, () => this.#again());

  constructor(native: NativeEvents, parts: ChannelParts, unbind: () => void) {
    this.port = parts.port;
    this.remote = parts.remote;
    this.onEvent = parts.onEvent;
    this.onFault = parts.onFault;
    this.#native = native;
    this.#unbind = unbind;
  }

  notify(): void {
    if (!this.#open) return;
    const error = this.#native.notify(this.port);
    if (error < 0 && !this.#notifies) this.#notifies = this.#isToRetry('Notifying the guest', error);
  }

  unmask(): void {
    if (!this.#open) return;
    const error = this.#native.unmask(this.port);
    if (error < 0 && !this.#unmasks) this.#unmasks = this.#isToRetry('Unmasking an event channel', error);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#retry.cancel();
    this.#unbind();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #isToRetry(what: string, error: number): boolean {
    const errno = errnoName(error);
    if (HARMLESS.includes(errno)) return false;
    this.#retry.again();
    this.onFault?.(hostFault(what, errno));
    return true;
  }

  #again(): void {
    if (this.#notifies) this.#notifies = this.#native.notify(this.port) < 0;
    if (this.#unmasks) this.#unmasks = this.#native.unmask(this.port) < 0;
    if (this.#notifies || this.#unmasks) {
      this.#retry.again();
      return;
    }
    this.#retry.reset();
    this.onFault?.(undefined);
  }
}
