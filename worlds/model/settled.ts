import type { ModelHypervisor } from '../../lib/testing/model/index.js';

/** The state of the work. */
export interface Outcome {
  readonly ended: boolean;
  readonly failed: boolean;
  /** @throws the error of the work. */
  check(): void;
}

/** Follows work without waiting for it: Node ends a process without a message if only a promise that never settles remains. */
export function outcomeOf(work: PromiseLike<unknown>): Outcome {
  let ended = false;
  let failure: { error: unknown } | undefined;
  work.then(
    () => {
      ended = true;
    },
    (error) => {
      failure = { error };
    },
  );
  return {
    get ended() {
      return ended;
    },
    get failed() {
      return failure !== undefined;
    },
    check: () => {
      if (failure !== undefined) throw failure.error;
    },
  };
}

/**
 * Runs the model until all events are handled, and advances virtual time if asked to.
 * @returns whether the work ended by then.
 * @throws the error of the work.
 */
export async function settled(
  hypervisor: ModelHypervisor,
  work: PromiseLike<unknown>,
  ms = 0,
): Promise<boolean> {
  const outcome = outcomeOf(work);
  await hypervisor.advance(ms);
  await hypervisor.settle();
  outcome.check();
  return outcome.ended;
}
