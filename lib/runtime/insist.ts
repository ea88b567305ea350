import { Backoff } from '../backoff.js';
import { type VifdError, vifdErrorOf } from '../errors.js';
import { Faults } from '../netback/faults/present-faults.js';
import type { Clock } from '../xen/seam.js';

/** Where faults of the runtime directory are reported, which concern no single vif. */
export interface FaultLog {
  error(error: VifdError, vif: undefined): void;
  /** The fault that this error reported is over. */
  mended(error: VifdError, vif: undefined): void;
}

/**
 * Repeats a task that guests do not wait for until it succeeds. Reports a failure once, and once more when the task has succeeded.
 */
export class Insist implements Disposable {
  readonly #work: () => void | Promise<void>;
  readonly #faults: Faults;
  readonly #retry: Backoff;

  constructor(clock: Clock, log: FaultLog, work: () => void | Promise<void>) {
    this.#work = work;
    this.#faults = new Faults({
      onBegin: (error) => log.error(error, undefined),
      onEnd: (error) => log.mended(error, undefined),
    });
    this.#retry = new Backoff(clock, () => void this.run());
  }

  /** Starts the task. Resolves after the first attempt, and never rejects. */
  async run(): Promise<void> {
    try {
      await this.#work();
    } catch (error) {
      this.fail(error);
      return;
    }
    this.#faults.end('work');
  }

  /** Reports that the result of the task was lost, for this reason, and starts the task again. */
  fail(error: unknown): void {
    this.#faults.begin('work', vifdErrorOf(error));
    this.#retry.again();
  }

  /** Prevents further attempts. */
  [Symbol.dispose](): void {
    this.#retry.cancel();
  }
}
