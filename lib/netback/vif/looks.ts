import type { Clock } from '../../xen/seam.js';
import type { Allowance } from '../guest/allowance.js';

/**
 * So many looks at a vif cost nothing: what its toolstack and a starting guest cause. The toolstack decides how many vifs a guest has, and a guest
 * with many connects all of them at once.
 */
export const FREE_LOOKS = 12;

/**
 * Runs the looks at one vif, never two at a time. A guest may change its keys without end (XSA-349), so looks beyond its budget wait,
 * and all changes during the wait lead to one look.
 */
export class Looks {
  readonly #clock: Clock;
  readonly #look: () => Promise<void>;
  readonly #allowance: Allowance;
  #free = FREE_LOOKS;
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

  /** Call it when a key changed. Resolves when a look has read the change, or when the look must wait. */
  poke(): Promise<void> {
    this.#dirty = true;
    this.#running ??= this.#run().finally(() => this.#onCalm());
    return this.#running;
  }

  /** Resolves when no look is under way. */
  async settled(): Promise<void> {
    await this.#running;
  }

  /** Prevents further looks; one that is under way ends by itself. */
  end(): void {
    this.#ended = true;
    this.#later?.[Symbol.dispose]();
  }

  /** Looks again if a poke came after the last look and joined the run that was ending. */
  #onCalm(): Promise<void> | undefined {
    this.#running = undefined;
    return this.#due ? this.poke() : undefined;
  }

  get #due(): boolean {
    return this.#dirty && !this.#ended && this.#later === undefined;
  }

  async #run(): Promise<void> {
    while (this.#due) {
      const waitMs = this.#free > 0 ? 0 : this.#allowance.takeMs();
      this.#free = Math.max(0, this.#free - 1);
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
