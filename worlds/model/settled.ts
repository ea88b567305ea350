import type { ModelHypervisor } from '../../lib/testing/model/index.js';

/**
 * Lets the model run until nothing moves, and virtual time pass if wanted.
 * @returns whether the work ended by then; a promise that nobody keeps would else end the process without a word.
 * @throws what the work throws.
 */
export async function settled(
  hypervisor: ModelHypervisor,
  work: PromiseLike<unknown>,
  ms = 0,
): Promise<boolean> {
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
  await hypervisor.advance(ms);
  await hypervisor.settle();
  if (failure !== undefined) throw failure.error;
  return ended;
}
