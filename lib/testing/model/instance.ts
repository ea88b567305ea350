/**
 * Thrown in the code of a life that is over. Throwing it from `onStep` ends the life at that step: nothing that
 * the dead code still does has an effect.
 */
export class ModelKilled extends Error {
  constructor(what = 'here') {
    super(`this instance of the process ended before: ${what}`);
    this.name = 'ModelKilled';
  }
}

/** Called before each operation of a life that others can see. May throw ModelKilled. */
export type OnStep = (what: string) => void;

/** Something that a life has and has to give back. */
export interface Holding {
  /** Gives it back at the end of the life. */
  release(): void;
  /** What it is, when it should not be there any more at an orderly end. */
  leak?(): string | undefined;
}

/** From a process's start to its end. What it holds is let go of at the end, by us if not by the process. */
export class Instance {
  readonly domid: number;
  readonly #onStep: OnStep | undefined;
  readonly #holdings = new Set<Holding>();
  #alive = true;

  constructor(domid: number, onStep: OnStep | undefined) {
    this.domid = domid;
    this.#onStep = onStep;
  }

  get alive(): boolean {
    return this.#alive;
  }

  /** @throws ModelKilled when the life is over. */
  check(what: string): void {
    if (!this.#alive) throw new ModelKilled(what);
  }

  /** Goes before an operation that others can see. @throws ModelKilled when the life is over, or ends here. */
  step(what: string): void {
    this.check(what);
    if (this.#onStep === undefined) return;
    try {
      this.#onStep(what);
    } catch (error) {
      if (error instanceof ModelKilled) this.end();
      throw error;
    }
    // onStep may have called `ModelHypervisor.kill` instead of throwing.
    this.check(what);
  }

  /** Runs what the machine runs of it, an event or a timer: with the life that ends in it, it ends, and nothing else does. */
  run(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!(error instanceof ModelKilled) || this.#alive) throw error;
    }
  }

  /** @returns a function that takes it off the list, for what was given back before the end. */
  hold(holding: Holding): () => void {
    this.#holdings.add(holding);
    return () => this.#holdings.delete(holding);
  }

  leaks(): string[] {
    return [...this.#holdings].map((holding) => holding.leak?.()).filter((leak) => leak !== undefined);
  }

  /** Idempotent. */
  end(): void {
    if (!this.#alive) return;
    this.#alive = false;
    for (const holding of this.#holdings) holding.release();
    this.#holdings.clear();
  }
}
