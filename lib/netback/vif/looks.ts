import type { Clock } from '../../xen/seam.js';
import type { Allowance } from '../guest/allowance.js';

/**
 * Runs the looks at one vif, never two at a time. A guest may change its keys without end (XSA-349): looks beyond its budget wait,
 * and all changes meanwhile lead to one look.
 */
export class Looks {
  readonly #clock: Clock;
  readonly #look: () => Promise<void>;
  readonly #allowance: Allowance;
  #dirty = false;
  #running: Promise<void> | undefined;
  #later: Disposable | undefined;
  #ended = false;

  /** @param look never rejects. */
  constructor(clock: Clock, allowance: Allowance, look: () => Promise<void>) {
    this.#clock = clock;
    this.#look = look;
    this.#allowance = allowance;
  }

  /** Call it when something changed. Resolves when a look has read that, or is put off. */
  poke(): Promise<void> {
    this.#dirty = true;
    this.#running ??= this.#run().finally(() => this.#onCalm());
    return this.#running;
  }

  /** Resolves when no look is under way. */
  async settled(): Promise<void> {
    await this.#running;
  }

  /** From now on no look begins; one that is under way ends by itself. */
  end(): void {
    this.#ended = true;
    this.#later?.[Symbol.dispose]();
  }

  /** Looks again where a poke came after the last look, and joined the run that was ending. */
  #onCalm(): Promise<void> | undefined {
    this.#running = undefined;
    return this.#due ? this.poke() : undefined;
  }

  get #due(): boolean {
    return this.#dirty && !this.#ended && this.#later === undefined;
  }

  async #run(): Promise<void> {
    while (this.#due) {
      const waitMs = this.#allowance.takeMs();
      if (waitMs > 0) {
        this.#later = this.#clock.after(waitMs, () => {
          this.#later = undefined;
          void this.poke();
        });
        return;
      }
      this.#dirty = false;
      await this.#look();
    }
  }
}
