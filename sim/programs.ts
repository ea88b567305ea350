import { HASH_TYPES } from '../lib/protocol/control.js';
import { type HashSetUp, type Netfront, setUpHash } from '../lib/testing/netfront/index.js';

/** The control requests of a guest. */
export type ControlPlan = 'none' | 'hash' | 'staged';

const KEY_BYTES = 40;

/** Sends a guest's control requests: again with each burst, one after the other, whether or not a backend runs. */
export class ControlProgram {
  /** The requests that the backend refused. */
  readonly refused: string[] = [];
  readonly #front: Netfront;
  readonly #plan: ControlPlan;
  readonly #queues: number;
  #changes = 0;
  #busy = false;

  /** @param queues that the guest has. */
  constructor(front: Netfront, plan: ControlPlan, queues: number) {
    this.#front = front;
    this.#plan = plan;
    this.#queues = queues;
  }

  /** Whether the backend has responded to all requests. */
  get still(): boolean {
    return !this.#busy;
  }

  /** Requests another change, unless the last one has no response yet. */
  next(): void {
    if (this.#busy || this.#plan === 'none') return;
    this.#busy = true;
    this.#changes += 1;
    const asked = this.#plan === 'hash' ? this.#hash() : this.#stage();
    asked.then(
      (done) => {
        if (!done) this.refused.push(`${this.#plan}, change ${this.#changes}`);
        this.#busy = false;
      },
      // The guest is gone, or the backend never responded: `still` shows the latter.
      () => undefined,
    );
  }

  #hash(): Promise<boolean> {
    const key = Uint8Array.from({ length: KEY_BYTES }, (_, i) => (i * 37 + this.#changes * 11) & 0xff);
    // After each change, most flows have another queue.
    const mapping = Array.from({ length: this.#changes % 5 }, (_, i) => (i + this.#changes) % this.#queues);
    const setUp: HashSetUp = { types: HASH_TYPES, key, mapping };
    this.#front.hash.expect(setUp);
    return setUpHash(this.#front.control!, setUp);
  }

  /** Every other time it first removes all grants, so that all are staged before. */
  async #stage(): Promise<boolean> {
    if (this.#changes % 2 === 0 && (await this.#front.unstage()) !== this.#front.stageable) return false;
    return this.#front.stage();
  }
}
