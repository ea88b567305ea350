import { hostFault } from '../../errors.js';
import type { EventPorts, Port } from './event-ports.js';

/** What the model needs from the host so that event channels outlive a process: descriptors which processes can send to each other. */
export interface HandleDescriptors {
  /** Opens something that descriptors can stand for. */
  open(): OpenHandle;
  /** Returns a duplicate. */
  duplicate(descriptor: number): number;
  /** Closes one descriptor. Its duplicates stay open. */
  close(descriptor: number): void;
  /** Returns what a descriptor and its duplicates have in common, and nothing else has; undefined for a descriptor that is not open. */
  idOf(descriptor: number): string | undefined;
}

/** What `HandleDescriptors.open` has opened. Disposal forgets it. */
export interface OpenHandle extends Disposable {
  /** The first descriptor, which is the caller's. */
  readonly descriptor: number;
  /** Whether a duplicate of the descriptor is open in any process, or under way to one. */
  readonly isOpen: boolean;
}

/** An open handle of /dev/xen/evtchn, with the ports that were bound by it. They stay bound while a descriptor of it is open. */
export interface EventHandle {
  readonly domid: number;
  readonly open: OpenHandle;
  readonly ports: Set<Port>;
}

/** The handles that can pass from one process to another. */
export class EventHandles {
  readonly #descriptors: HandleDescriptors;
  readonly #ports: EventPorts;
  readonly #handles = new Map<string, EventHandle>();

  constructor(descriptors: HandleDescriptors, ports: EventPorts) {
    this.#descriptors = descriptors;
    this.#ports = ports;
  }

  /** @returns a handle, and a descriptor of it for the process. */
  make(domid: number): { readonly handle: EventHandle; readonly descriptor: number } {
    const open = this.#descriptors.open();
    const handle: EventHandle = { domid, open, ports: new Set() };
    this.#handles.set(this.#descriptors.idOf(open.descriptor) as string, handle);
    return { handle, descriptor: open.descriptor };
  }

  /**
   * @param descriptor of a handle, which stays the caller's. @returns the handle, and a further descriptor of it for the process.
   * @throws VifdError ERR_HOST if the descriptor is none of a handle of this domain.
   */
  find(domid: number, descriptor: number): { readonly handle: EventHandle; readonly descriptor: number } {
    // The name of one that was closed may be another's by now.
    this.sweep();
    const handle = this.#handles.get(this.#descriptors.idOf(descriptor) ?? '');
    if (handle?.domid !== domid) throw hostFault('Opening event channels', 'EINVAL');
    return { handle, descriptor: this.#descriptors.duplicate(descriptor) };
  }

  close(descriptor: number): void {
    this.#descriptors.close(descriptor);
    this.sweep();
  }

  /** Unbinds the ports of handles of which no descriptor is open any more, as the kernel does at the last close. */
  sweep(): void {
    for (const [id, { open, ports }] of this.#handles) {
      if (open.isOpen) continue;
      this.#handles.delete(id);
      open[Symbol.dispose]();
      for (const port of ports) this.#ports.close(port);
    }
  }
}
