import type { VifdError } from '../errors.js';
import type { DescriptorKeeper } from '../host/descriptor-keeper.js';
import { LocalKeeper } from '../host/local-keeper.js';
import type { VifId } from '../netback/vif-info.js';

/**
 * The descriptors of all workers' taps: this process has a duplicate of each for the workers, and the service manager has one for the next
 * supervisor.
 */
export class TapStore implements DescriptorKeeper, Disposable {
  readonly #kept: LocalKeeper;
  readonly #manager: DescriptorKeeper;

  /**
   * @param manager stores them for the next process. @param inherited those of the previous one, by name, which this object then owns.
   * @param onError is called with ERR_STATE when a descriptor cannot be duplicated.
   */
  constructor(
    manager: DescriptorKeeper,
    inherited: ReadonlyMap<string, number>,
    onError: (error: VifdError) => void,
  ) {
    this.#kept = new LocalKeeper(onError);
    this.#manager = manager;
    for (const [name, descriptor] of inherited) this.#kept.own(name, descriptor);
  }

  /** Stores a descriptor that a worker has sent, and owns it from then on. */
  own(name: string, descriptor: number): void {
    // The service manager stores several under one name, so that a worker could fill its store.
    if (this.#kept.get(name) !== undefined) this.#manager.forget(name);
    this.#kept.own(name, descriptor);
    this.#manager.keep(name, descriptor);
  }

  /** Returns the stored descriptors of a vif's tap by name (`vif7.0`, `vif7.0.q1`). They stay this object's. */
  of(vif: VifId): ReadonlyMap<string, number> {
    const names = this.#kept.names.filter((name) => name === vif || name.startsWith(`${vif}.q`));
    return new Map(names.map((name) => [name, this.#kept.get(name) as number]));
  }

  take(name: string): number | undefined {
    return this.#kept.forProcess().take(name);
  }

  keep(name: string, descriptor: number): void {
    this.#kept.forProcess().keep(name, descriptor);
    this.#manager.keep(name, descriptor);
  }

  forget(name: string): void {
    this.#kept.forget(name);
    this.#manager.forget(name);
  }

  [Symbol.dispose](): void {
    this.#kept[Symbol.dispose]();
  }
}
