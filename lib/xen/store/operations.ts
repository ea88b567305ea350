import { AtMost } from '../../at-most.js';
import type { Store, StoreView } from '../seam.js';
import { type OpenTransaction, runTransaction } from './transaction.js';
import { storeView, type Talk } from './view.js';
import { MessageType, storeError } from './wire.js';

const TRANSACTION_ATTEMPTS = 64;
/** The most requests that wait for a response (each at most 4 KiB), and the most transactions that wait: far more than vifd needs. */
export const PENDING_MAX = 16_384;
/**
 * How many transactions run at a time: half of what xenstored allows a connection of an unprivileged domain by default
 * (`xenstored --transaction`). Behind /dev/xen/xenbus, the kernel and all programs of the domain share one connection.
 */
export const TRANSACTIONS_MAX = 5;

/** The operations of a Store, apart from its transport and its watches, which subclasses implement. */
export abstract class StoreOperations
  implements Omit<Store, 'watch' | 'onConnection' | typeof Symbol.asyncDispose>
{
  readonly #view: StoreView = storeView((...message) => this.talk(...message));
  protected readonly transactions = new AtMost(TRANSACTIONS_MAX);

  /** Sends a request outside of transactions. */
  protected abstract talk(...message: Parameters<Talk>): ReturnType<Talk>;

  protected abstract begin(): Promise<OpenTransaction>;

  read(path: string): Promise<string | undefined> {
    return this.#view.read(path);
  }

  readAll(paths: readonly string[]): ReturnType<StoreView['readAll']> {
    return this.#view.readAll(paths);
  }

  write(path: string, value: string): Promise<void> {
    return this.#view.write(path, value);
  }

  list(path: string): Promise<string[]> {
    return this.#view.list(path);
  }

  mkdir(path: string): Promise<void> {
    return this.#view.mkdir(path);
  }

  rm(path: string): Promise<void> {
    return this.#view.rm(path);
  }

  getPermissions(path: string): ReturnType<StoreView['getPermissions']> {
    return this.#view.getPermissions(path);
  }

  setPermissions(...args: Parameters<StoreView['setPermissions']>): Promise<void> {
    return this.#view.setPermissions(...args);
  }

  async transaction<T>(body: (view: StoreView) => Promise<T>, attempts = TRANSACTION_ATTEMPTS): Promise<T> {
    if (this.transactions.waiting >= PENDING_MAX)
      throw storeError('EBUSY', MessageType.TRANSACTION_START, '');
    return this.transactions.run(() => runTransaction(() => this.begin(), body, attempts));
  }
}
