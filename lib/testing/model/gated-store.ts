import type { VifdError } from '../../errors.js';
import type { Permission, Store, StoreView, StoreWatch } from '../../xen/seam.js';
import type { Instance } from './instance.js';
import type { RunQueue } from './queue.js';

/** A view of the store that ends with an instance: later requests are neither executed nor get a response with data. */
class GatedView implements StoreView {
  readonly #instance: Instance;
  readonly #inner: StoreView;

  constructor(instance: Instance, inner: StoreView) {
    this.#instance = instance;
    this.#inner = inner;
  }

  read(path: string): Promise<string | undefined> {
    return this.ask('store.read', () => this.#inner.read(path));
  }

  readAll(paths: readonly string[]): ReturnType<StoreView['readAll']> {
    return this.ask('store.read', () => this.#inner.readAll(paths));
  }

  write(path: string, value: string): Promise<void> {
    return this.#change(`store.write ${path}`, () => this.#inner.write(path, value));
  }

  list(path: string): Promise<string[]> {
    return this.ask('store.list', () => this.#inner.list(path));
  }

  mkdir(path: string): Promise<void> {
    return this.#change(`store.mkdir ${path}`, () => this.#inner.mkdir(path));
  }

  rm(path: string): Promise<void> {
    return this.#change(`store.rm ${path}`, () => this.#inner.rm(path));
  }

  getPermissions(path: string): Promise<Permission[]> {
    return this.ask('store.getPermissions', () => this.#inner.getPermissions(path));
  }

  setPermissions(path: string, permissions: readonly Permission[]): Promise<void> {
    return this.#change(`store.setPermissions ${path}`, () => this.#inner.setPermissions(path, permissions));
  }

  /** @throws ModelKilled, whatever the response is, if the instance ended meanwhile. */
  protected async ask<T>(what: string, question: () => Promise<T>): Promise<T> {
    this.#instance.check(what);
    try {
      return await question();
    } finally {
      this.#instance.check(what);
    }
  }

  async #change(what: string, change: () => Promise<void>): Promise<void> {
    this.#instance.step(what);
    await this.ask(what, change);
  }
}

/** The store for one instance. Its watch events come through the run queue, in order. */
export class GatedStore extends GatedView implements Store {
  readonly #instance: Instance;
  readonly #inner: Store;
  readonly #queue: RunQueue;
  readonly #late: boolean;
  readonly #withdraw: () => void;

  constructor(options: { instance: Instance; inner: Store; queue: RunQueue; watchesLate: boolean }) {
    super(options.instance, options.inner);
    this.#instance = options.instance;
    this.#inner = options.inner;
    this.#queue = options.queue;
    this.#late = options.watchesLate;
    // Disposal drops watches and open transactions at once; only its promise is for later.
    this.#withdraw = options.instance.hold({ release: () => void options.inner[Symbol.asyncDispose]() });
  }

  transaction<T>(body: (view: StoreView) => Promise<T>, attempts?: number): Promise<T> {
    const gated = async (view: StoreView): Promise<T> => {
      const result = await body(new GatedView(this.#instance, view));
      this.#instance.step('store.commit');
      return result;
    };
    return this.ask('store.transaction', () => this.#inner.transaction(gated, attempts));
  }

  async watch(path: string, onChange: (path: string) => void): Promise<StoreWatch> {
    const watch = new GatedWatch(this.#instance, path);
    const queueChange = (changed: string): void => {
      const run = (): void => {
        if (watch.open) onChange(changed);
      };
      this.#queue.push({
        instance: this.#instance,
        lane: this,
        what: `watch of ${path}`,
        late: this.#late,
        run,
      });
    };
    try {
      watch.inner = await this.ask('store.watch', () => this.#inner.watch(path, queueChange));
    } catch (error) {
      await watch.close();
      throw error;
    }
    return watch;
  }

  /** In the lane of the watches: the listener runs before the watches that fire after it. */
  onConnection(listener: (lost: VifdError | undefined) => void): Disposable {
    let open = true;
    const inner = this.#inner.onConnection((lost) => {
      const run = (): void => {
        if (open) listener(lost);
      };
      const what = lost === undefined ? 'the store is back' : 'the store is lost';
      this.#queue.push({ instance: this.#instance, lane: this, what, run });
    });
    return {
      [Symbol.dispose]: () => {
        open = false;
        inner[Symbol.dispose]();
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#instance.alive) return;
    this.#withdraw();
    await this.#inner[Symbol.asyncDispose]();
  }
}

class GatedWatch implements StoreWatch {
  inner: StoreWatch | undefined;
  open = true;
  readonly #instance: Instance;
  readonly #withdraw: () => void;

  constructor(instance: Instance, path: string) {
    this.#instance = instance;
    this.#withdraw = instance.hold({
      release: () => {
        this.open = false;
      },
      leak: () => `watch of ${path}`,
    });
  }

  async close(): Promise<void> {
    if (!this.open) return;
    this.open = false;
    this.#withdraw();
    if (this.#instance.alive) await this.inner?.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
