import { setImmediate as turn } from 'node:timers';
import { VifdError } from '../../errors.js';
import type { Instance } from './instance.js';
import type { Random } from './random.js';

/** A call into an instance's code that waits for its turn. */
export interface Task {
  readonly instance: Instance;
  /** Tasks of one lane run in the order in which they were queued. */
  readonly lane: object;
  /** For the message when the model does not settle. */
  readonly what: string;
  /** Runs only if no other task waits. */
  readonly late?: boolean;
  run(): void;
}

export interface QueueOptions {
  /** Chooses the lane that runs next. Undefined: tasks run in the order of queueing. */
  readonly random: Random | undefined;
  /** Whether tasks run by themselves. Otherwise `settle` runs them. */
  readonly autorun: boolean;
  readonly stepsMax: number;
}

/** Runs all callbacks of the model, one task at a time, in an order that the seed decides. */
export class RunQueue {
  readonly #options: QueueOptions;
  #tasks: Task[] = [];

  constructor(options: QueueOptions) {
    this.#options = options;
  }

  push(task: Task): void {
    this.#tasks.push(task);
    // One turn of the event loop for each task: Node then finishes the task's promises before the next task.
    if (this.#options.autorun) turn(() => this.#runOne());
  }

  /** Runs until no task waits. @throws the error of a task, or ERR_STATE after `stepsMax` tasks. */
  async settle(): Promise<void> {
    for (let steps = 0; steps < this.#options.stepsMax; steps += 1) {
      await promisesDone();
      if (this.#options.autorun ? this.#tasks.length === 0 : !this.#runOne()) return;
    }
    const waiting = [...new Set(this.#tasks.map((task) => `${task.what} of domain ${task.instance.domid}`))];
    throw new VifdError(
      'ERR_STATE',
      `the model did not settle within ${this.#options.stepsMax} steps; waiting: ${waiting.join(', ') || 'nothing'}. ` +
        'Look for two sides that wake each other without end',
    );
  }

  /** @returns false if no task waits. */
  #runOne(): boolean {
    const task = this.#take();
    if (task === undefined) return false;
    task.instance.run(() => task.run());
    return true;
  }

  #take(): Task | undefined {
    this.#tasks = this.#tasks.filter((task) => task.instance.alive);
    const prompt = this.#tasks.filter((task) => task.late !== true);
    const candidates = prompt.length > 0 ? prompt : this.#tasks;
    const { random } = this.#options;
    const drawn = candidates[random === undefined ? 0 : random.below(candidates.length)];
    const task = candidates.find((candidate) => candidate.lane === drawn?.lane);
    if (task !== undefined) this.#tasks.splice(this.#tasks.indexOf(task), 1);
    return task;
  }
}

/** Resolves in the event loop's next turn. By then all promise callbacks that can run have run. */
function promisesDone(): Promise<void> {
  return new Promise((resolve) => {
    turn(resolve);
  });
}
