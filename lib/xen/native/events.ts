import { errnoName, type NativeEvents, type XenLibraries } from '../../addon.js';
import { Backoff } from '../../backoff.js';
import { hostFault, VifdError } from '../../errors.js';
import type { ChannelFaultListener, EventChannel, Events } from '../seam.js';
import { requireDomid } from './check.js';
import { systemClock } from './clock.js';
import { isGuestFault } from './errno.js';
import type { LateEnds } from './late-ends.js';

/** Ports taken from the kernel in one turn of the event loop; more wait for the next turn. */
const PORTS_PER_TURN_MAX = 256;

/** Events over libxenevtchn: one handle, its descriptor watched on this thread's event loop. */
export class XenEvents implements Events, Disposable {
  readonly #native: NativeEvents;
  readonly #block: Int32Array;
  readonly #channels = new Map<number, XenChannel>();
  readonly #late: LateEnds;
  /** Other domains' ports, `domid:port`, whose channel the host could not close yet. */
  readonly #closing = new Set<string>();
  readonly #resume = new Backoff(systemClock, () => this.#receive(this.#native.resume()));
  /** Events cannot be received. */
  #deaf = false;
  #disposed = false;

  private constructor(native: NativeEvents, block: Int32Array, late: LateEnds) {
    this.#native = native;
    this.#late = late;
    this.#block = block;
  }

  /** @returns -errno when the device cannot be opened. */
  static open(libraries: XenLibraries, late: LateEnds): XenEvents | number {
    // The loop runs no handler before this function has returned.
    let events!: XenEvents;
    const block = new Int32Array(1 + PORTS_PER_TURN_MAX);
    const native = libraries.openEvents(block, () => events.#deliver());
    if (typeof native === 'number') return native;
    events = new XenEvents(native, block, late);
    return events;
  }

  bind(domid: number, remotePort: number, onEvent: () => void, onFault?: ChannelFaultListener): EventChannel {
    this.#check();
    requireDomid(domid);
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
    this.#disposed = true;
    this.#resume.cancel();
    for (const channel of [...this.#channels.values()]) channel.close();
    this.#native.close();
  }

  #check(): void {
    if (this.#disposed) throw new VifdError('ERR_STATE', 'This Xen was closed: open it again.');
  }

  #add(parts: ChannelParts): EventChannel {
    const { port, remote } = parts;
    const channel = new XenChannel(this.#native, parts, () => {
      this.#channels.delete(port);
      const error = this.#late.run(() => {
        // A handle that was closed meanwhile has closed its ports.
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

  /** Runs in a callback of the addon's. */
  #deliver(): void {
    this.#receive(this.#block[0]);
  }

  /** All channels suffer from it, or none does any more. */
  #tell(fault: VifdError | undefined): void {
    const listeners = [...this.#channels.values()].filter(({ onFault }) => onFault !== undefined);
    for (const { onFault } of listeners) onFault?.(fault);
    if (listeners.length === 0 && fault !== undefined)
      process.emitWarning(fault.message, { code: fault.code });
  }

  /** @param count ports stand in the block; or -errno. */
  #receive(count: number): void {
    if (this.#disposed) return;
    if (count < 0) {
      this.#deaf = true;
      this.#resume.again();
      const fault = hostFault('Receiving events', errnoName(count));
      this.#tell(fault);
      return;
    }
    if (this.#deaf) {
      this.#deaf = false;
      this.#resume.reset();
      this.#tell(undefined);
    }
    for (let i = 1; i <= count; i++) {
      // A channel that an earlier handler of this turn closed is not there any more.
      const channel = this.#channels.get(this.#block[i]);
      if (channel !== undefined) run(channel.onEvent);
    }
  }
}

/** The other channels' events must not be lost with one handler's mistake: they are masked already. */
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

/** What a call fails with when there is nothing to be done: a peer that is gone, a handle that was closed. */
const HARMLESS = ['EBADF', 'ENOTCONN'];

class XenChannel implements EventChannel {
  readonly port: number;
  readonly onEvent: () => void;
  readonly onFault: ChannelFaultListener | undefined;
  readonly #native: NativeEvents;
  readonly #unbind: () => void;
  /** The call failed and is still to be made. A guest waits for ever for a notification that was not sent. */
  #notifies = false;
  #unmasks = false;
  #open = true;
  readonly #retry = new Backoff(systemClock, () => this.#again());

  constructor(native: NativeEvents, parts: ChannelParts, unbind: () => void) {
    this.port = parts.port;
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
