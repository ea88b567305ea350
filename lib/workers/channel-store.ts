import { closeSync } from 'node:fs';
import type { VifId } from '../netback/vif-info.js';
import type { StoredEvents } from '../xen/seam.js';

/** The event channels of all workers' connections. While this process has their descriptors, they stay bound when a worker dies. */
export class ChannelStore implements Disposable {
  readonly #stored = new Map<VifId, StoredEvents>();

  has(vif: VifId): boolean {
    return this.#stored.has(vif);
  }

  /** Stores the channels of a vif's connection in place of those of an earlier one, and owns the descriptor from then on. */
  own(vif: VifId, stored: StoredEvents): void {
    this.forget(vif);
    this.#stored.set(vif, stored);
  }

  /** Returns the channels, which are the caller's from then on: the worker that gets them sends them again once it uses them. */
  take(vif: VifId): StoredEvents | undefined {
    const stored = this.#stored.get(vif);
    this.#stored.delete(vif);
    return stored;
  }

  forget(vif: VifId): void {
    const stored = this.take(vif);
    if (stored !== undefined) closeSync(stored.descriptor);
  }

  [Symbol.dispose](): void {
    for (const vif of [...this.#stored.keys()]) this.forget(vif);
  }
}
