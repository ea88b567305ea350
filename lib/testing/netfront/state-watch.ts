import { VifdError } from '../../errors.js';
import { parseXenbusState, type XenbusState } from '../../protocol/xenbus.js';
import type { Clock, Store, StoreView, StoreWatch } from '../../xen/seam.js';

/** How long `StateWatch.until` waits. */
export interface UntilOptions {
  /** Measures the time. */
  readonly clock: Clock;
  /** Its abort ends the wait. */
  readonly signal?: AbortSignal | undefined;
  /** Default: without end. */
  readonly timeoutMs?: number;
}

/**
 * Reads a node that may not exist. If a guest may not read the parent of a node that is gone, xenstored responds EACCES.
 */
export async function readIfThere(store: StoreView, path: string): Promise<string | undefined> {
  try {
    return await store.read(path);
  } catch (error) {
    if (error instanceof VifdError && error.code === 'ERR_STORE' && error.errno === 'EACCES')
      return undefined;
    throw error;
  }
}

/** Follows one `state` node of the store. */
export class StateWatch implements AsyncDisposable {
  /** The node. */
  readonly path: string;
  readonly #store: Store;
  readonly #listeners = new Set<() => void>();
  #watch: StoreWatch | undefined;
  #state: XenbusState = 0;
  #reading = false;
  #again = false;

  private constructor(store: Store, path: string) {
    this.#store = store;
    this.path = path;
  }

  /** Resolves when the state is known. */
  static async open(store: Store, path: string): Promise<StateWatch> {
    const watch = new StateWatch(store, path);
    watch.#state = parseXenbusState(await readIfThere(store, path));
    watch.#watch = await store.watch(path, () => void watch.#refresh());
    return watch;
  }

  /** Unknown (0) when there is no such node. */
  get state(): XenbusState {
    return this.#state;
  }

  /** Calls back after each change. @returns a function that withdraws it. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Resolves with the first state that is one of `states`.
   * @throws ERR_STATE when `timeoutMs` have passed; the signal's reason when it is aborted.
   */
  until(states: readonly XenbusState[], options: UntilOptions): Promise<XenbusState> {
    const { clock, signal, timeoutMs } = options;
    return new Promise((resolve, reject) => {
      let timer: Disposable | undefined;
      const finish = (settle: () => void) => {
        withdraw();
        signal?.removeEventListener('abort', onAbort);
        timer?.[Symbol.dispose]();
        settle();
      };
      const look = () => {
        if (states.includes(this.#state)) finish(() => resolve(this.#state));
      };
      const onAbort = () => finish(() => reject(signal?.reason));
      const withdraw = this.onChange(look);
      if (signal?.aborted === true) return onAbort();
      signal?.addEventListener('abort', onAbort);
      if (timeoutMs !== undefined) {
        const late = () => finish(() => reject(this.#late(states, timeoutMs)));
        timer = clock.after(timeoutMs, late);
      }
      look();
    });
  }

  /** Ends the watch. Waits of `until` have no end then, unless they have a signal or a time. */
  async close(): Promise<void> {
    this.#listeners.clear();
    await this.#watch?.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #late(states: readonly XenbusState[], timeoutMs: number): VifdError {
    return new VifdError(
      'ERR_STATE',
      `${this.path} is ${this.#state} and did not become ${states.join(' or ')} within ${timeoutMs} ms`,
    );
  }

  /** Reads the node. Events may come faster than responses, so there is one read at a time, and one more if the node changed meanwhile. */
  async #refresh(): Promise<void> {
    this.#again = true;
    if (this.#reading) return;
    this.#reading = true;
    while (this.#again) {
      this.#again = false;
      let state: XenbusState;
      try {
        state = parseXenbusState(await readIfThere(this.#store, this.path));
      } catch {
        // The connection to the store is lost. When it is back, the client registers the watch again, which fires it.
        continue;
      }
      this.#take(state);
    }
    this.#reading = false;
  }

  #take(state: XenbusState): void {
    if (state === this.#state) return;
    this.#state = state;
    for (const listener of [...this.#listeners]) listener();
  }
}
