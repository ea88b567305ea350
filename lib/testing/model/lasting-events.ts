import { VifdError } from '../../errors.js';
import type {
  ChannelFaultListener,
  EventChannel,
  LastingEvents,
  StoredEvents,
  StoredPort,
} from '../../xen/seam.js';
import type { EventHandle, EventHandles } from './event-handles.js';
import type { Port } from './event-ports.js';
import { boundPort, type EventParts, ModelChannel } from './events.js';
import type { RunQueue } from './queue.js';

export interface LastingParts extends EventParts {
  readonly handles: EventHandles;
  readonly queue: RunQueue;
}

/** A channel of this process, with the ports of both ends. */
interface Lasting {
  readonly channel: ModelChannel;
  readonly stored: StoredPort;
}

/** Event channels of one instance by a handle that can outlive it. */
export class ModelLastingEvents implements LastingEvents {
  readonly #parts: LastingParts;
  readonly #handle: EventHandle;
  readonly #descriptor: number;
  /** Ports that another process has bound by this handle, and that nothing has taken over yet. */
  readonly #left: Map<string, StoredPort>;
  readonly #bound = new Map<Port, Lasting>();
  readonly #withdraw: () => void;
  #open = true;

  /** @throws VifdError ERR_HOST if what is stored is of no use. */
  constructor(parts: LastingParts, stored: StoredEvents | undefined) {
    const { instance, handles } = parts;
    this.#parts = parts;
    instance.check('openLastingEvents');
    const { domid } = instance;
    const { handle, descriptor } =
      stored === undefined ? handles.make(domid) : handles.find(domid, stored.descriptor);
    this.#handle = handle;
    this.#descriptor = descriptor;
    this.#left = new Map(stored?.ports.map((port) => [endOf(port.domid, port.remotePort), port]));
    this.#withdraw = instance.hold({
      release: () => this.#close(),
      leak: () => 'a handle of lasting event channels',
    });
  }

  get stored(): StoredEvents {
    const ports = [...this.#bound].flatMap(([port, { stored }]) => (port.open ? [stored] : []));
    return { descriptor: this.#descriptor, ports };
  }

  bind(
    domid: number,
    remotePort: number,
    onEvent: () => void,
    _onFault?: ChannelFaultListener,
  ): EventChannel {
    this.#check();
    const taken = this.#takeOver(domid, remotePort, onEvent);
    if (taken !== undefined) return taken;
    const port = boundPort(this.#parts, domid, remotePort, this.#asRead(onEvent));
    return this.#add(port, domid, remotePort);
  }

  bindUnbound(domid: number, onEvent: () => void): EventChannel {
    this.#check();
    const { instance, ports } = this.#parts;
    instance.step('events.bindUnbound');
    const port = ports.open(instance, domid, this.#asRead(onEvent), undefined);
    this.#handle.ports.add(port);
    return new ModelChannel(instance, port, ports, () => ports.leave(port, instance));
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    const { ports } = this.#parts;
    for (const { channel } of this.#bound.values()) channel.close();
    for (const { port: number } of this.#left.values()) {
      const port = this.#portOf(number);
      if (port !== undefined) ports.close(port);
    }
    this.#withdraw();
    this.#close();
  }

  #close(): void {
    this.#open = false;
    this.#parts.handles.close(this.#descriptor);
  }

  /** @returns undefined if no port is stored for this end, or if the stored one is not bound any more. */
  #takeOver(domid: number, remotePort: number, onEvent: () => void): EventChannel | undefined {
    const { instance, ports, queue } = this.#parts;
    const end = endOf(domid, remotePort);
    const stored = this.#left.get(end);
    this.#left.delete(end);
    const port = stored && this.#portOf(stored.port);
    if (port === undefined) return undefined;
    instance.step('events.takeOver');
    // As the addon: whether the port is bound is found by an event to its other end.
    if (port.remote !== undefined) ports.raise(port.remote);
    const read = this.#asRead(onEvent);
    ports.take(port, instance, read);
    const channel = this.#add(port, domid, remotePort);
    // The process that had it may have read an event without acting on it. The port is masked then, until `unmask`.
    queue.push({
      instance,
      lane: port,
      what: `event on port ${port.number}, which was taken over`,
      run: () => {
        if (port.open && this.#bound.has(port)) read();
      },
    });
    return channel;
  }

  #portOf(number: number): Port | undefined {
    return [...this.#handle.ports].find((port) => port.open && port.number === number);
  }

  #add(port: Port, domid: number, remotePort: number): EventChannel {
    const { instance, ports } = this.#parts;
    this.#handle.ports.add(port);
    const channel = new ModelChannel(instance, port, ports, () => ports.leave(port, instance));
    this.#bound.set(port, { channel, stored: { domid, remotePort, port: port.number } });
    return channel;
  }

  /** The process may end when it has read an event, and before it acts on it. Then no other process reads that event. */
  #asRead(onEvent: () => void): () => void {
    return () => {
      this.#parts.instance.step('events.read');
      onEvent();
    };
  }

  #check(): void {
    this.#parts.instance.check('events.bind');
    if (!this.#open) throw new VifdError('ERR_STATE', 'These event channels were closed: open others.');
  }
}

function endOf(domid: number, port: number): string {
  return `${domid}:${port}`;
}
