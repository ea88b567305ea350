import type { VifdError } from '../../errors.js';

/**
 * Called with each fault of the host in one part of a connection (a direction of a queue, a channel), and with undefined when the part
 * works again.
 */
export type HostFaultListener = (fault: VifdError | undefined) => void;

/**
 * Merges the host's faults of all parts of a connection into one, because a lack of memory, for example, affects all queues at once. The
 * fault begins with the first part that has one and ends with the last.
 */
export class HostFaults {
  readonly #faults = new Map<string, VifdError>();
  readonly #listener: HostFaultListener;

  /** @param listener called with the fault of the connection as a whole, and with undefined when it ends. */
  constructor(listener: HostFaultListener) {
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
    if (fault === undefined && !this.#faults.has(part)) return;
    if (fault === undefined) this.#faults.delete(part);
    else this.#faults.set(part, fault);
    const [first] = this.#faults.values();
    this.#listener(first);
  }
}
