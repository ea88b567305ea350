import { closeSync } from 'node:fs';
import { addon, errnoName } from '../addon.js';
import { hostRemedy, VifdError } from '../errors.js';
import type { DescriptorKeeper } from './descriptor-keeper.js';

/**
 * Stores duplicates in this process, for a process that outlives those that serve guests, and for tests. Each serving process has a
 * `DescriptorKeeper` of its own (`forProcess`).
 */
export class LocalKeeper implements Disposable {
  readonly #stored = new Map<string, number>();
  readonly #onError: (error: VifdError) => void;

  /** @param onError is called with ERR_STATE when a descriptor cannot be duplicated. */
  constructor(onError: (error: VifdError) => void) {
    this.#onError = onError;
  }

  get names(): string[] {
    return [...this.#stored.keys()];
  }

  /** Returns the stored descriptor, which stays the keeper's; undefined if there is none. */
  get(name: string): number | undefined {
    return this.#stored.get(name);
  }

  /** Stores a descriptor, which the keeper owns from then on. */
  own(name: string, descriptor: number): void {
    this.forget(name);
    this.#stored.set(name, descriptor);
  }

  forget(name: string): void {
    const descriptor = this.#stored.get(name);
    this.#stored.delete(name);
    if (descriptor !== undefined) closeSync(descriptor);
  }

  /** Returns a keeper for one serving process: its `take` returns each descriptor that is stored now, once. */
  forProcess(): DescriptorKeeper {
    const left = new Set(this.names);
    return {
      take: (name) => {
        const stored = left.delete(name) ? this.#stored.get(name) : undefined;
        return stored === undefined ? undefined : this.#duplicate(name, stored);
      },
      keep: (name, descriptor) => {
        const duplicate = this.#duplicate(name, descriptor);
        if (duplicate !== undefined) this.own(name, duplicate);
      },
      forget: (name) => {
        left.delete(name);
        this.forget(name);
      },
    };
  }

  /** Closes all stored descriptors. */
  [Symbol.dispose](): void {
    for (const name of this.names) this.forget(name);
  }

  #duplicate(name: string, descriptor: number): number | undefined {
    const duplicate = addon().duplicateDescriptor(descriptor);
    if (duplicate >= 0) return duplicate;
    const errno = errnoName(duplicate);
    const message = `The descriptor ${name} cannot be duplicated, so no later process gets it (${errno}): ${hostRemedy(errno)}.`;
    this.#onError(new VifdError('ERR_STATE', message, { errno }));
    return undefined;
  }
}
