import { VifdError } from '../../errors.js';
import type { ChannelFaultListener, EventChannel, Events } from '../../xen/seam.js';
import type { EventHandles } from './event-handles.js';
import type { EventPorts, Port } from './event-ports.js';
import type { HostOf } from './faults.js';
import type { Instance } from './instance.js';

/** What the event channels of one instance need. */
export interface EventParts {
  readonly instance: Instance;
  readonly ports: EventPorts;
  readonly host: HostOf;
  /** Undefined where event channels end with the process that has bound them. */
  readonly handles: EventHandles | undefined;
}

/** The event channels of one instance. */
export class ModelEvents implements Events {
  readonly #parts: EventParts;

  constructor(parts: EventParts) {
    this.#parts = parts;
  }

  /** @param _onFault is never called, since no call of a channel fails in the model. */
  bind(
    domid: number,
    remotePort: number,
    onEvent: () => void,
    _onFault?: ChannelFaultListener,
  ): EventChannel {
    const { instance, ports } = this.#parts;
    return new ModelChannel(instance, boundPort(this.#parts, domid, remotePort, onEvent), ports);
  }

  bindUnbound(domid: number, onEvent: () => void): EventChannel {
    const { instance, ports } = this.#parts;
    instance.step('events.bindUnbound');
    return new ModelChannel(instance, ports.open(instance, domid, onEvent, undefined), ports);
  }
}

/** Binds to a port of another domain. @throws VifdError as `Events.bind`. */
export function boundPort(
  { instance, ports, host, handles }: EventParts,
  domid: number,
  remotePort: number,
  onEvent: () => void,
): Port {
  instance.step('events.bind');
  host.check('bind', `Binding event channel ${remotePort} of domain ${domid}`);
  // The last descriptor of the handle that has bound the port may have been closed since.
  handles?.sweep();
  const remote = ports.unbound(domid, remotePort, instance.domid);
  if (remote !== undefined) return ports.open(instance, domid, onEvent, remote);
  throw new VifdError(
    'ERR_XEN_EVENT',
    `domain ${domid} has no port ${remotePort} that waits for domain ${instance.domid}: ` +
      'it is closed, bound already or meant for another domain',
    { errno: 'EINVAL' },
  );
}

export class ModelChannel implements EventChannel {
  readonly port: number;
  readonly #instance: Instance;
  readonly #state: Port;
  readonly #ports: EventPorts;
  readonly #withdraw: () => void;

  /** @param atEnd what becomes of the port at the end of the process. Default: it is closed. */
  constructor(instance: Instance, state: Port, ports: EventPorts, atEnd = () => ports.close(state)) {
    this.port = state.number;
    this.#instance = instance;
    this.#state = state;
    this.#ports = ports;
    this.#withdraw = instance.hold({ release: atEnd, leak: () => `open port ${state.number}` });
  }

  notify(): void {
    this.#instance.step('events.notify');
    const { remote } = this.#state;
    if (remote !== undefined) this.#ports.raise(remote);
  }

  unmask(): void {
    this.#instance.check('events.unmask');
    this.#ports.unmask(this.#state);
  }

  close(): void {
    if (!this.#state.open) return;
    this.#instance.step('events.close');
    this.#withdraw();
    this.#ports.close(this.#state);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
