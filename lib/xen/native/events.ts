import { errnoName, type NativeEvents, type XenLibraries } from '../../addon.js';
import { VifdError } from '../../errors.js';
import type { EventChannel, Events } from '../types.js';
import { requireDomid } from './check.js';

/** Ports taken from the kernel in one turn of the event loop; more wait for the next turn. */
const PORTS_PER_TURN_MAX = 256;

/** Events over libxenevtchn: one handle, its descriptor watched on this thread's event loop. */
export class XenEvents implements Events, Disposable {
  readonly #native: NativeEvents;
  readonly #block: Int32Array;
  readonly #channels = new Map<number, XenChannel>();

  private constructor(native: NativeEvents, block: Int32Array) {
    this.#native = native;
    this.#block = block;
  }

  /** @returns -errno when the device cannot be opened. */
  static open(libraries: XenLibraries): XenEvents | number {
    // The loop runs no handler before this function has returned.
    let events!: XenEvents;
    const block = new Int32Array(1 + PORTS_PER_TURN_MAX);
    const native = libraries.openEvents(block, () => events.#deliver());
    if (typeof native === 'number') return native;
    events = new XenEvents(native, block);
    return events;
  }

  bind(domid: number, remotePort: number, onEvent: () => void): EventChannel {
    requireDomid(domid);
    const port = this.#native.bind(domid, remotePort);
    if (port < 0) {
      const errno = errnoName(port);
      throw new VifdError(
        'ERR_XEN_EVENT',
        `Event channel ${remotePort} of domain ${domid} cannot be bound (${errno}): it is not there, not left for ` +
          'us, or already bound.',
        { errno },
      );
    }
    return this.#add(port, onEvent);
  }

  bindUnbound(domid: number, onEvent: () => void): EventChannel {
    requireDomid(domid);
    const port = this.#native.bindUnbound(domid);
    if (port < 0) {
      const errno = errnoName(port);
      throw new VifdError('ERR_XEN_EVENT', `No event channel can be opened for domain ${domid}: ${errno}.`, {
        errno,
      });
    }
    return this.#add(port, onEvent);
  }

  [Symbol.dispose](): void {
    for (const channel of [...this.#channels.values()]) channel.close();
    this.#native.close();
  }

  #add(port: number, onEvent: () => void): EventChannel {
    const channel = new XenChannel(this.#native, port, onEvent, () => this.#channels.delete(port));
    this.#channels.set(port, channel);
    return channel;
  }

  #deliver(): void {
    const count = this.#block[0];
    if (count < 0) {
      const errno = errnoName(count);
      throw new VifdError('ERR_XEN_EVENT', `Events can no longer be received: ${errno}.`, { errno });
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

class XenChannel implements EventChannel {
  readonly port: number;
  readonly onEvent: () => void;
  readonly #native: NativeEvents;
  readonly #forget: () => void;
  #open = true;

  constructor(native: NativeEvents, port: number, onEvent: () => void, forget: () => void) {
    this.port = port;
    this.onEvent = onEvent;
    this.#native = native;
    this.#forget = forget;
  }

  notify(): void {
    // ENOTCONN is a peer that is gone: under Xen too nobody hears it.
    if (this.#open) this.#native.notify(this.port);
  }

  unmask(): void {
    if (this.#open) this.#native.unmask(this.port);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#forget();
    this.#native.unbind(this.port);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
