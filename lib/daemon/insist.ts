import { Backoff } from '../backoff.js';
import { vifdErrorOf } from '../errors.js';
import { Faults } from '../netback/faults/present-faults.js';
import type { Clock } from '../xen/seam.js';
import type { EventLog } from './run-log.js';

/**
 * Does what guests do not wait for, again and again until it succeeds. A failure is reported once, and once more when it is
 * mended.
 */
export class Insist implements Disposable {
  readonly #work: () => void | Promise<void>;
  readonly #faults: Faults;
  readonly #retry: Backoff;

  constructor(clock: Clock, log: Pick<EventLog, 'error' | 'mended'>, work: () => void | Promise<void>) {
    this.#work = work;
    this.#faults = new Faults({
      onBegin: (error) => log.error(error, undefined),
      onEnd: (error) => log.mended(error, undefined),
    });
    this.#retry = new Backoff(clock, () => void this.run());
  }

  /** Resolves after the first try, and does not reject. */
  async run(): Promise<void> {
    try {
      await this.#work();
    } catch (error) {
      this.fail(error);
      return;
    }
    this.#faults.end('work');
  }

  /** What was done is undone, for this reason: it is done again. */
  fail(error: unknown): void {
    this.#faults.begin('work', vifdErrorOf(error));
    this.#retry.again();
  }

  /** No further try begins. */
  [Symbol.dispose](): void {
    this.#retry.cancel();
  }
}
