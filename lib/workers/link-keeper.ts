import type { VifdError } from '../errors.js';
import type { DescriptorKeeper } from '../host/descriptor-keeper.js';
import { LocalKeeper } from '../host/local-keeper.js';
import type { Link } from './link.js';

/**
 * Stores the descriptors of a worker's taps in its supervisor, which outlives it, and returns those that came with a vif. The worker has
 * duplicates itself, so that it can give them to the next supervisor if its own dies.
 */
export class LinkKeeper implements DescriptorKeeper, Disposable {
  readonly #kept: LocalKeeper;
  readonly #store: DescriptorKeeper;
  /** The names of those that came and that no tap has taken yet. */
  readonly #left = new Set<string>();
  #link: Link | undefined;

  /** @param onError is called with ERR_STATE when a descriptor cannot be duplicated. */
  constructor(onError: (error: VifdError) => void) {
    this.#kept = new LocalKeeper(onError);
    this.#store = this.#kept.forProcess();
  }

  /** Sends all descriptors by this link, and from then on each change; undefined: there is none. */
  sendTo(link: Link | undefined): void {
    this.#link = link;
    for (const name of this.#kept.names)
      link?.send({ report: 'keep', name }, [this.#kept.get(name) as number]);
  }

  /** Owns descriptors that came by the link, which `take` then returns. */
  own(names: readonly string[], descriptors: readonly number[]): void {
    names.forEach((name, i) => {
      this.#kept.own(name, descriptors[i]);
      this.#left.add(name);
    });
  }

  /** Closes those of these that no tap has taken. The supervisor's stay. */
  drop(names: readonly string[]): void {
    for (const name of names) if (this.#left.delete(name)) this.#kept.forget(name);
  }

  take(name: string): number | undefined {
    return this.#left.delete(name) ? this.#kept.forProcess().take(name) : undefined;
  }

  keep(name: string, descriptor: number): void {
    this.#left.delete(name);
    this.#store.keep(name, descriptor);
    this.#link?.send({ report: 'keep', name }, [descriptor]);
  }

  forget(name: string): void {
    this.#left.delete(name);
    this.#store.forget(name);
    this.#link?.send({ report: 'forget-descriptor', name });
  }

  [Symbol.dispose](): void {
    this.#kept[Symbol.dispose]();
  }
}
