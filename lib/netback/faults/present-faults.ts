import type { VifdError } from '../../errors.js';

export interface FaultListener {
  onBegin(error: VifdError): void;
  onEnd(error: VifdError): void;
}

/**
 * The present faults, at most one of each kind. A fault is reported when it begins, when its message changes, and when
 * it ends. A fault that is present already is not reported again, however often it is found.
 */
export class Faults {
  readonly #listener: FaultListener;
  readonly #faults = new Map<string, VifdError>();

  constructor(listener: FaultListener) {
    this.#listener = listener;
  }

  /** All present faults, in the order in which they began. */
  get all(): readonly VifdError[] {
    return [...this.#faults.values()];
  }

  has(kind: string): boolean {
    return this.#faults.has(kind);
  }

  begin(kind: string, error: VifdError): void {
    if (this.#faults.get(kind)?.message === error.message) return;
    this.#faults.set(kind, error);
    this.#listener.onBegin(error);
  }

  end(kind: string): void {
    const error = this.#faults.get(kind);
    if (error === undefined) return;
    this.#faults.delete(kind);
    this.#listener.onEnd(error);
  }

  /** Drops the faults of these kinds without a report, because their subject no longer exists. */
  forget(isOver: (kind: string) => boolean): void {
    for (const kind of [...this.#faults.keys()]) if (isOver(kind)) this.#faults.delete(kind);
  }
}
