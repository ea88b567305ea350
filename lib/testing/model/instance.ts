/**
 * Thrown in the code of an instance that is over. If `onStep` throws it, the instance ends at that step: later calls of
 * its code have no effect.
 */
export class ModelKilled extends Error {
  /** @param what the operation before which the instance ends. */
  constructor(what = 'here') {
    super(`this instance ended before: ${what}`);
    this.name = 'ModelKilled';
  }
}

/** Called before each operation of an instance that other domains or instances can observe. May throw ModelKilled. */
export type OnStep = (what: string) => void;

/** A resource that an instance has and must release. */
export interface Holding {
  /** Releases the resource at the end of the instance. */
  release(): void;
  /** Returns a description of the resource if it should not exist any more at an orderly end. */
  leak?(): string | undefined;
}

/** One run of a process, from its start to its end. At the end, resources that the process has not released are released for it. */
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

  /** @throws ModelKilled if the instance is over. */
  check(what: string): void {
    if (!this.#alive) throw new ModelKilled(what);
  }

  /** Called before an operation that others can observe. @throws ModelKilled if the instance is over, or ends here. */
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

  /** Runs an event handler or a timer of the instance. If the instance ends meanwhile, `work` ends without an error. */
  run(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!(error instanceof ModelKilled) || this.#alive) throw error;
    }
  }

  /** Adds a resource. @returns a function that removes it, to call if the resource is released before the end. */
  hold(holding: Holding): () => void {
    this.#holdings.add(holding);
    return () => this.#holdings.delete(holding);
  }

  leaks(): string[] {
    return [...this.#holdings].map((holding) => holding.leak?.()).filter((leak) => leak !== undefined);
  }

  /** Runs no code any more from now on, and still has its resources until `end`, as a process that the kernel is about to end. */
  stop(): void {
    this.#alive = false;
  }

  /** Idempotent. */
  end(): void {
    this.stop();
    for (const holding of this.#holdings) holding.release();
    this.#holdings.clear();
  }
}
