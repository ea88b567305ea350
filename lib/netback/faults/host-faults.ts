import type { VifdError } from '../../errors.js';
import type { FaultListener } from './present-faults.js';

/**
 * Called with each fault of the host in one part of a connection (a direction of a queue, a channel), and with undefined when the part
 * works again.
 */
export type HostFaultListener = (fault: VifdError | undefined) => void;

/**
 * Merges the host's faults of all parts of a connection by their messages, because a lack of memory, for example, affects all queues at once.
 * A fault begins with the first part that has it and ends with the last. Faults with different messages do not hide each other.
 */
export class HostFaults {
  readonly #faults = new Map<string, VifdError>();
  readonly #listener: FaultListener;

  constructor(listener: FaultListener) {
    this.#listener = listener;
  }

  /** @param part a name that no other part of the connection has. */
  of(part: string): HostFaultListener {
    return (fault) => this.#set(part, fault);
  }

  /** Forgets all faults, because the parts end: later faults come from their end. */
  clear(): void {
    this.#faults.clear();
  }

  #set(part: string, fault: VifdError | undefined): void {
    const before = this.#faults.get(part);
    if (before?.message === fault?.message) return;
    const isNew = fault !== undefined && !this.#has(fault);
    if (fault === undefined) this.#faults.delete(part);
    else this.#faults.set(part, fault);
    if (isNew) this.#listener.onBegin(fault);
    if (before !== undefined && !this.#has(before)) this.#listener.onEnd(before);
  }

  #has({ message }: VifdError): boolean {
    for (const fault of this.#faults.values()) if (fault.message === message) return true;
    return false;
  }
}

/**
 * The fault of a port that fails to send the guest's frames. All queues of a connection share it, because they share the port: a queue that
 * sends nothing more cannot find out that the port works again.
 */
export class SendingFault {
  #isPresent = false;
  readonly #listener: HostFaultListener;

  constructor(listener: HostFaultListener = () => {}) {
    this.#listener = listener;
  }

  get isPresent(): boolean {
    return this.#isPresent;
  }

  /** @param fault undefined: the port has sent a frame. */
  set(fault: VifdError | undefined): void {
    this.#isPresent = fault !== undefined;
    this.#listener(fault);
  }
}
