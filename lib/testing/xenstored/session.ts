import type { Permission } from '../../xen/seam.js';
import { MessageType, type StoreErrno, storeError } from '../../xen/store/wire.js';
import { canonicalPath, canonicalWatchPath } from './paths.js';
import { isPrivileged } from './permissions.js';
import type { Quota } from './quota.js';
import { type LiveTable, Transaction } from './transactions.js';
import {
  makeNode,
  readNode,
  removeNode,
  type Scope,
  type StoreNode,
  setNodePermissions,
  writeNode,
} from './tree.js';
import type { ModelWatch, WatchTable } from './watches.js';

/** The store as its sessions see it. */
export interface SessionStore {
  readonly quota: Quota;
  readonly table: LiveTable;
  readonly watches: WatchTable;
  isIntroduced(domid: number): boolean;
  introduce(domid: number): void;
  release(domid: number): boolean;
  /** Forgets a session that ended. */
  disconnect(session: StoreSession): void;
}

export interface SessionEvents {
  /** Called in the middle of a change: record the event, and act later. */
  onEvent(watch: ModelWatch, path: string): void;
  /** The domain was released: the connection is gone. */
  onReleased(): void;
  /** The store was stopped: the connection is gone. */
  onLost(): void;
}

/**
 * A domain's connection to the model's store: its transactions and watches, and every operation, synchronous. Errors
 * are VifdError ERR_STORE. `tx` is 0 outside transactions.
 */
export class StoreSession {
  readonly domid: number;
  readonly store: SessionStore;
  readonly #events: SessionEvents;
  readonly #transactions = new Map<number, Transaction>();
  readonly #watches = new Set<ModelWatch>();
  #lastTransaction = 0;

  /** Only `ModelStore.connect` calls it. */
  constructor(store: SessionStore, domid: number, events: SessionEvents) {
    this.store = store;
    this.domid = domid;
    this.#events = events;
  }

  get privileged(): boolean {
    return isPrivileged(this.domid);
  }

  read(tx: number, path: string): StoreNode {
    return this.#run(MessageType.READ, tx, path, readNode);
  }

  list(tx: number, path: string): StoreNode {
    return this.#run(MessageType.DIRECTORY, tx, path, readNode);
  }

  getPermissions(tx: number, path: string): readonly Permission[] {
    return this.#run(MessageType.GET_PERMS, tx, path, readNode).permissions;
  }

  /** Writes a node. @param value is stored, so pass a copy. */
  write(tx: number, path: string, value: Buffer): void {
    this.#run(MessageType.WRITE, tx, path, (scope, at) => writeNode(scope, at, value));
  }

  mkdir(tx: number, path: string): void {
    this.#run(MessageType.MKDIR, tx, path, makeNode);
  }

  rm(tx: number, path: string): void {
    this.#run(MessageType.RM, tx, path, removeNode);
  }

  setPermissions(tx: number, path: string, permissions: readonly Permission[]): void {
    this.#run(MessageType.SET_PERMS, tx, path, (scope, at) => setNodePermissions(scope, at, permissions));
  }

  // ---- transactions -----------------------------------------------------------------------------

  begin(tx: number): number {
    // Transactions do not nest.
    if (tx !== 0) refuse('EBUSY', MessageType.TRANSACTION_START);
    const { transactions } = this.store.quota;
    if (!this.privileged && this.#transactions.size >= transactions) {
      refuse('ENOSPC', MessageType.TRANSACTION_START);
    }
    do this.#lastTransaction = (this.#lastTransaction % 0xffff_ffff) + 1;
    while (this.#transactions.has(this.#lastTransaction));
    this.#transactions.set(this.#lastTransaction, new Transaction(this.store.table));
    return this.#lastTransaction;
  }

  /** Ends the transaction, whether or not the commit succeeds. */
  end(tx: number, commit: boolean): void {
    const type = MessageType.TRANSACTION_END;
    const transaction = this.#transactions.get(tx) ?? refuse('ENOENT', type);
    this.#transactions.delete(tx);
    if (!commit) return;
    if (transaction.conflicts) refuse('EAGAIN', type);
    if (!this.privileged && transaction.owned(this.domid) > this.store.quota.entries) refuse('ENOSPC', type);
    for (const change of transaction.commit()) this.store.watches.fire(change);
  }

  // ---- watches ----------------------------------------------------------------------------------

  watch(path: string, token: string): void {
    const absolute = canonicalWatchPath(this.domid, path) ?? refuse('EINVAL', MessageType.WATCH, path);
    if (this.#findWatch(absolute, token) !== undefined) refuse('EEXIST', MessageType.WATCH, path);
    const { watches, quota } = this.store;
    if (!this.privileged && watches.count(this.domid) >= quota.watches) {
      refuse('E2BIG', MessageType.WATCH, path);
    }
    const watch: ModelWatch = {
      domid: this.domid,
      path,
      absolute,
      token,
      fire: (changed) => this.#events.onEvent(watch, changed),
    };
    watches.add(watch);
    this.#watches.add(watch);
    // Fires once at the beginning, so that the client need not read the node first (xenstore.txt, WATCH).
    watch.fire(path);
  }

  /** @returns the removed watch. */
  unwatch(path: string, token: string): ModelWatch {
    const absolute = canonicalWatchPath(this.domid, path) ?? refuse('EINVAL', MessageType.UNWATCH, path);
    const watch = this.#findWatch(absolute, token) ?? refuse('ENOENT', MessageType.UNWATCH, path);
    this.store.watches.remove(watch);
    this.#watches.delete(watch);
    return watch;
  }

  /** Ends all watches and transactions. */
  reset(): void {
    for (const watch of this.#watches) this.store.watches.remove(watch);
    this.#watches.clear();
    this.#transactions.clear();
  }

  /** Ends the connection. Idempotent. */
  close(): void {
    this.reset();
    this.store.disconnect(this);
  }

  /** Called by the store: the domain is gone, and its connection with it. */
  release(): void {
    this.close();
    this.#events.onReleased();
  }

  /** Called by the store: it stops, and has lost the connection. */
  lose(): void {
    this.close();
    this.#events.onLost();
  }

  #findWatch(absolute: string, token: string): ModelWatch | undefined {
    return [...this.#watches].find((watch) => watch.absolute === absolute && watch.token === token);
  }

  #run<T>(type: number, tx: number, path: string, operation: (scope: Scope, path: string) => T): T {
    const transaction = tx === 0 ? undefined : (this.#transactions.get(tx) ?? refuse('ENOENT', type, path));
    const absolute = canonicalPath(this.domid, path) ?? refuse('EINVAL', type, path);
    const { table, quota, watches } = this.store;
    return operation(
      {
        table: transaction ?? table,
        domid: this.domid,
        quota,
        type,
        changed: (change) => (transaction ?? { changed: (now) => watches.fire(now) }).changed(change),
      },
      absolute,
    );
  }
}

function refuse(errno: StoreErrno, type: number, path = ''): never {
  throw storeError(errno, type, path);
}
