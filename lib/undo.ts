import { VifdError } from './errors.js';

/**
 * Steps that release resources. The last one runs first, each runs once, and all run even if some throw. The
 * language's DisposableStack does the same without a listener, but Node has it from version 24 on, and vifd runs on Node 20.
 */
export class UndoStack implements Disposable {
  readonly #steps: Array<() => void> = [];
  readonly #onHostFault: ((fault: VifdError) => void) | undefined;

  /**
   * @param onHostFault called with each ERR_HOST of a step, whose call tries again by itself. Default: ERR_HOST is thrown as other errors
   *   are.
   */
  constructor(onHostFault?: (fault: VifdError) => void) {
    this.#onHostFault = onHostFault;
  }

  /** Adds a step, which runs before all those that were added earlier. */
  defer(step: () => void): void {
    this.#steps.push(step);
  }

  /** Disposes of `resource` in its turn. @returns `resource`. */
  use<T extends Disposable>(resource: T): T {
    this.defer(() => resource[Symbol.dispose]());
    return resource;
  }

  /** Runs and removes all steps. @throws what a step threw; of several errors `joinErrors` makes one. */
  [Symbol.dispose](): void {
    const errors = this.#run();
    if (errors.length > 0) throw joinErrors(errors);
  }

  /** As dispose, after a failure. @returns what to throw: `error`, joined with the errors of the steps. */
  after(error: unknown): unknown {
    return joinErrors([error, ...this.#run()]);
  }

  #run(): unknown[] {
    const errors: unknown[] = [];
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        step();
      } catch (error) {
        if (this.#onHostFault !== undefined && isHostFault(error)) this.#onHostFault(error);
        else errors.push(error);
      }
    }
    return errors;
  }
}

/** As UndoStack, for steps that are awaited, each before the next one runs. */
export class AsyncUndoStack implements AsyncDisposable {
  readonly #steps: Array<() => unknown> = [];

  /** Adds a step, which runs before all those that were added earlier. */
  defer(step: () => unknown): void {
    this.#steps.push(step);
  }

  /** Disposes of `resource` in its turn. @returns `resource`. */
  use<T extends Disposable | AsyncDisposable>(resource: T): T {
    this.defer(() =>
      Symbol.asyncDispose in resource ? resource[Symbol.asyncDispose]() : resource[Symbol.dispose](),
    );
    return resource;
  }

  /** Runs and removes all steps. @throws what a step threw or rejected with; of several errors `joinErrors` makes one. */
  async [Symbol.asyncDispose](): Promise<void> {
    const errors = await this.#run();
    if (errors.length > 0) throw joinErrors(errors);
  }

  /** As dispose, after a failure. @returns what to throw: `error`, joined with the errors of the steps. */
  async after(error: unknown): Promise<unknown> {
    return joinErrors([error, ...(await this.#run())]);
  }

  async #run(): Promise<unknown[]> {
    const errors: unknown[] = [];
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await step();
      } catch (error) {
        errors.push(error);
      }
    }
    return errors;
  }
}

/**
 * @param errors at least one.
 * @returns a single error unchanged. For several: an error with all their messages, whose cause is an AggregateError of them. It has the
 *   code of the first error, which decides what a caller does. If the first one has no code, the result is that AggregateError itself.
 */
function joinErrors(errors: readonly unknown[]): unknown {
  const [first] = errors;
  if (errors.length === 1) return first;
  const messages = errors.map((error) => (error instanceof Error ? error.message : String(error)));
  const all = new AggregateError(errors, messages.join('; then '));
  if (!(first instanceof VifdError)) return all;
  const { code, errno, vif } = first;
  return new VifdError(code, all.message, {
    cause: all,
    ...(errno === undefined ? {} : { errno }),
    ...(vif === undefined ? {} : { vif }),
  });
}

function isHostFault(error: unknown): error is VifdError {
  return error instanceof VifdError && error.code === 'ERR_HOST';
}
