import type { Store, StoreView } from '../types.js';
import { type OpenTransaction, runTransaction } from './transaction.js';
import { storeView, type Talk } from './view.js';

const TRANSACTION_ATTEMPTS = 64;

/** What a Store can do without knowing how its messages travel; watches are its clients' own. */
export abstract class StoreOperations
  implements Omit<Store, 'watch' | 'onConnection' | typeof Symbol.asyncDispose>
{
  readonly #view: StoreView = storeView((...message) => this.talk(...message));

  /** Outside of transactions. */
  protected abstract talk(...message: Parameters<Talk>): ReturnType<Talk>;

  protected abstract begin(): Promise<OpenTransaction>;

  read(path: string): Promise<string | undefined> {
    return this.#view.read(path);
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

  transaction<T>(body: (view: StoreView) => Promise<T>, attempts = TRANSACTION_ATTEMPTS): Promise<T> {
    return runTransaction(() => this.begin(), body, attempts);
  }
}
