import type { Clock } from '../xen/types.js';
import type { PumpResult } from './pump.js';

/** Runs one direction of a queue: again while work is left, but letting others have their turn in between. */
export class Worker {
  readonly #pump: () => PumpResult;
  readonly #clock: Clock;
  readonly #onIdle: () => void;
  readonly #onStop: (reason: string) => void;
  #later: Disposable | undefined;
  #running = false;
  #again = false;
  /** `#later` is when the guest may go on, or has waited long enough. */
  #throttled = false;
  #ended = false;

  constructor(parts: {
    pump: () => PumpResult;
    clock: Clock;
    onIdle: () => void;
    onStop: (reason: string) => void;
  }) {
    this.#pump = parts.pump;
    this.#clock = parts.clock;
    this.#onIdle = parts.onIdle;
    this.#onStop = parts.onStop;
  }

  /** Nothing can be done now. */
  get idle(): boolean {
    return (this.#later === undefined || this.#throttled) && !this.#running;
  }

  wake(): void {
    if (this.#ended || this.#later !== undefined) return;
    // A port may have frames before `pump` returns.
    if (this.#running) this.#again = true;
    else this.#run();
  }

  /** What it waited for may have come, however long it meant to wait. */
  rouse(): void {
    if (this.#throttled) this.#forget();
    this.wake();
  }

  /** As `rouse`, but whoever has a turn now ends it first: for those who rouse each other. */
  rouseNext(): void {
    if (this.#throttled) this.#forget();
    if (this.#ended || this.#later !== undefined) return;
    if (this.#running) this.#again = true;
    else this.#later = this.#clock.after(0, () => this.#run());
  }

  /** Looks at once whether it may go on. */
  hurry(): void {
    if (!this.#throttled) return;
    this.#forget();
    this.wake();
  }

  end(): void {
    this.#ended = true;
    this.#forget();
  }

  #forget(): void {
    this.#later?.[Symbol.dispose]();
    this.#later = undefined;
    this.#throttled = false;
  }

  #run(): void {
    this.#later = undefined;
    this.#throttled = false;
    if (this.#ended) return;
    this.#running = true;
    this.#again = false;
    const result = this.#pump();
    this.#running = false;
    if (this.#ended) return;
    if (typeof result === 'object' && 'waitMs' in result) {
      this.#later = this.#clock.after(result.waitMs, () => this.#run());
      this.#throttled = true;
      this.#onIdle();
    } else if (typeof result === 'object') {
      this.end();
      this.#onStop(result.stop);
    } else if (result === 'more' || this.#again) {
      this.#later = this.#clock.after(0, () => this.#run());
    } else {
      this.#onIdle();
    }
  }
}
