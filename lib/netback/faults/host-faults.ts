import type { VifdError } from '../../errors.js';

/** Hears of the host's faults of one part of a connection (a direction of a queue, a channel); undefined: it works again. */
export type HostFaultListener = (fault: VifdError | undefined) => void;

/**
 * What of a connection the host keeps from working, as one fault: memory that is short is short for all queues at once. The
 * fault begins with the first part that has one and ends with the last.
 */
export class HostFaults {
  readonly #faults = new Map<string, VifdError>();
  readonly #tell: HostFaultListener;

  /** @param tell hears of the connection as a whole. */
  constructor(tell: HostFaultListener) {
    this.#tell = tell;
  }

  /** @param part a name that no other part of the connection has. */
  of(part: string): HostFaultListener {
    return (fault) => this.#set(part, fault);
  }

  /** No part works any more: what is heard from now on is of their end. */
  clear(): void {
    this.#faults.clear();
  }

  #set(part: string, fault: VifdError | undefined): void {
    if (fault === undefined && !this.#faults.has(part)) return;
    if (fault === undefined) this.#faults.delete(part);
    else this.#faults.set(part, fault);
    const [first] = this.#faults.values();
    this.#tell(first);
  }
}
