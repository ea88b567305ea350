import { everyNth } from '../lib/testing/model/faults.js';
import type { ModelXen } from '../lib/testing/model/index.js';
import type { Store, StoreView, Xen } from '../lib/xen/seam.js';
import type { ArenaPool } from './arenas.js';
import { mortal } from './port.js';
import type { FaultPlan } from './scenario.js';

/** The hypervisor for a backend process, with conflicts and reconnects of the store. `touch` writes a node again with its own value. */
export function backendXen(
  xen: ModelXen,
  arenas: ArenaPool,
  faults: FaultPlan,
  touch: (path: string) => Promise<void>,
): Xen {
  const faulty = faults.conflictEvery > 0 || faults.reconnectEvery > 0;
  const parts = partsOf(xen, arenas);
  return faulty ? { ...parts, store: new FaultyStore(xen, faults, touch) } : parts;
}

/** A guest that handles each event late. */
export function guestXen(xen: ModelXen, arenas: ArenaPool, lateMs: number): Xen {
  const parts = partsOf(xen, arenas);
  if (lateMs === 0) return parts;
  const { events } = xen;
  const late = (onEvent: () => void) => () => void xen.clock.after(lateMs, onEvent);
  return {
    ...parts,
    events: {
      bind: (domid, port, onEvent, onFault) => events.bind(domid, port, late(onEvent), onFault),
      bindUnbound: (domid, onEvent) => events.bindUnbound(domid, late(onEvent)),
    },
  };
}

function partsOf(xen: ModelXen, arenas: ArenaPool): Xen {
  const { domid, events, openLastingEvents, store, clock, shares } = xen;
  return {
    ...{ domid, events, store, clock, shares },
    ...(openLastingEvents && { openLastingEvents }),
    grants: {
      map: (...args) => xen.grants.map(...args),
      // The pool takes back all arenas at once, at the end of the run.
      arena: (bytes) => Object.assign(arenas.take(bytes), { [Symbol.dispose]: () => {} }),
      batch: (options) => xen.grants.batch(options),
      staged: (domid) => xen.grants.staged(domid),
    },
    step: (what) => xen.step(what),
    [Symbol.asyncDispose]: () => xen[Symbol.asyncDispose](),
  };
}

/** Acts as a busy xenstored, and as one that was restarted: EAGAIN, and watches that fire again. */
class FaultyStore implements Store {
  readonly #xen: ModelXen;
  readonly #inner: Store;
  readonly #touch: (path: string) => Promise<void>;
  readonly #conflicts: () => boolean;
  readonly #reconnects: () => boolean;
  readonly #watches = new Set<() => void>();

  constructor(xen: ModelXen, faults: FaultPlan, touch: (path: string) => Promise<void>) {
    this.#xen = xen;
    this.#inner = xen.store;
    this.#touch = touch;
    this.#conflicts = everyNth(faults.conflictEvery || undefined);
    this.#reconnects = everyNth(faults.reconnectEvery || undefined);
  }

  onConnection(listener: Parameters<Store['onConnection']>[0]): Disposable {
    return this.#inner.onConnection(listener);
  }

  read(path: string): Promise<string | undefined> {
    return this.#inner.read(path);
  }

  readAll(paths: readonly string[]): ReturnType<Store['readAll']> {
    return this.#inner.readAll(paths);
  }

  write(path: string, value: string): Promise<void> {
    return this.#inner.write(path, value);
  }

  list(path: string): Promise<string[]> {
    return this.#inner.list(path);
  }

  mkdir(path: string): Promise<void> {
    return this.#inner.mkdir(path);
  }

  rm(path: string): Promise<void> {
    return this.#inner.rm(path);
  }

  getPermissions(path: string): ReturnType<Store['getPermissions']> {
    return this.#inner.getPermissions(path);
  }

  setPermissions(...args: Parameters<Store['setPermissions']>): Promise<void> {
    return this.#inner.setPermissions(...args);
  }

  async transaction<T>(body: (view: StoreView) => Promise<T>, attempts?: number): Promise<T> {
    const seen: string[] = [];
    const conflicting = async (view: StoreView): Promise<T> => {
      const result = await body(noting(view, seen));
      if (this.#conflicts() && seen[0] !== undefined) await this.#touch(seen[0]);
      return result;
    };
    const result = await this.#inner.transaction(conflicting, attempts);
    this.#perhapsReconnect();
    return result;
  }

  async watch(path: string, onChange: (path: string) => void): ReturnType<Store['watch']> {
    const watch = await this.#inner.watch(path, onChange);
    const fire = () => onChange(path);
    this.#watches.add(fire);
    this.#perhapsReconnect();
    const close = (): Promise<void> => {
      this.#watches.delete(fire);
      return watch.close();
    };
    return { close, [Symbol.asyncDispose]: close };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#inner[Symbol.asyncDispose]();
  }

  #perhapsReconnect(): void {
    if (!this.#reconnects()) return;
    this.#xen.clock.after(0, () => {
      for (const fire of [...this.#watches]) mortal(this.#xen, fire);
    });
  }
}

/** Records which nodes are read: a change of these is a conflict. */
function noting(view: StoreView, seen: string[]): StoreView {
  return {
    read: (path) => {
      seen.push(path);
      return view.read(path);
    },
    readAll: (paths) => {
      seen.push(...paths);
      return view.readAll(paths);
    },
    write: (path, value) => {
      seen.push(path);
      return view.write(path, value);
    },
    list: (path) => view.list(path),
    mkdir: (path) => view.mkdir(path),
    rm: (path) => view.rm(path),
    getPermissions: (path) => view.getPermissions(path),
    setPermissions: (path, permissions) => view.setPermissions(path, permissions),
  };
}
