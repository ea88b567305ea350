import type { ModelHypervisor } from '../../lib/testing/model/index.js';

/** What has become of work so far. */
export interface Outcome {
  readonly ended: boolean;
  readonly failed: boolean;
  /** @throws what the work threw. */
  check(): void;
}

/** Follows work without waiting for it: Node ends a process without a message when only a promise that never settles is left. */
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
 * Lets the model run until nothing moves, and virtual time pass if wanted.
 * @returns whether the work ended by then.
 * @throws what the work throws.
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
