import { performance } from 'node:perf_hooks';
import type { Clock } from '../../xen/seam.js';
import type { Instance } from './instance.js';
import type { RunQueue } from './queue.js';

interface Timer {
  readonly dueMs: number;
  readonly instance: Instance;
  readonly fire: () => void;
  readonly forget: () => void;
}

/** The timer of a process that was killed: it never fires. */
const NEVER: Disposable = { [Symbol.dispose]: () => {} };

/** Time that passes only by `advance`. */
export class VirtualTime {
  readonly #queue: RunQueue;
  /** In the order in which they were made. */
  readonly #timers = new Set<Timer>();
  #nowMs = 0;

  constructor(queue: RunQueue) {
    this.#queue = queue;
  }

  /** Returns the clock of one instance; its timers end with the instance. */
  clockOf(instance: Instance): Clock {
    return {
      now: () => this.#nowMs,
      after: (delayMs, fire) => this.#after(instance, delayMs, fire),
    };
  }

  /** Advances the time. The model settles at each moment at which a timer fires. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await this.#queue.settle();
    for (let due = this.#nextDueMs(); due <= endMs; due = this.#nextDueMs()) {
      this.#nowMs = due;
      for (const timer of this.#timers) if (timer.dueMs <= due) this.#queueFiring(timer);
      await this.#queue.settle();
    }
    this.#nowMs = endMs;
  }

  #after(instance: Instance, delayMs: number, fire: () => void): Disposable {
    if (!instance.alive) return NEVER;
    const release = instance.hold({ release: () => this.#timers.delete(timer) });
    const timer: Timer = {
      dueMs: this.#nowMs + Math.max(0, delayMs),
      instance,
      fire,
      forget: () => {
        this.#timers.delete(timer);
        release();
      },
    };
    this.#timers.add(timer);
    if (delayMs <= 0) this.#queueFiring(timer);
    return { [Symbol.dispose]: timer.forget };
  }

  /** The timer stays known until it fires, so that disposal cancels it even then. */
  #queueFiring(timer: Timer): void {
    this.#queue.push({
      instance: timer.instance,
      lane: timer,
      what: 'timer',
      run: () => {
        if (!this.#timers.has(timer)) return;
        timer.forget();
        timer.fire();
      },
    });
  }

  #nextDueMs(): number {
    let next = Number.POSITIVE_INFINITY;
    // A process that was stopped has its timers until its end, and they never fire.
    for (const { dueMs, instance } of this.#timers) if (instance.alive) next = Math.min(next, dueMs);
    return next;
  }
}

/** The machine's own monotonic clock, for programs that run on the model. */
export function realClockOf(instance: Instance): Clock {
  return {
    now: () => performance.now(),
    after: (delayMs, fire) => {
      if (!instance.alive) return NEVER;
      const cancel = later(delayMs, () => {
        withdraw();
        instance.run(fire);
      });
      const withdraw = instance.hold({ release: cancel });
      return {
        [Symbol.dispose]: () => {
          cancel();
          withdraw();
        },
      };
    },
  };
}

/** @returns the object that cancels it. Without a delay it fires in the event loop's next turn: a timer takes a millisecond at least. */
function later(delayMs: number, fire: () => void): () => void {
  if (delayMs <= 0) {
    // With a reference, as the native clock's: without one the loop may sleep until something else happens.
    const immediate = setImmediate(fire);
    return () => clearImmediate(immediate);
  }
  const timeout = setTimeout(fire, delayMs).unref();
  return () => clearTimeout(timeout);
}
