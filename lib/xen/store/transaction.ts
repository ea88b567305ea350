import { VifdError } from '../../errors.js';
import type { StoreView } from '../types.js';
import { storeView, type Talk } from './view.js';
import { isStoreError, MessageType, storeError } from './wire.js';

/** One transaction that was begun. */
export interface OpenTransaction {
  readonly talk: Talk;
  /** Rejects with EAGAIN when the commit met a conflict. */
  end(commit: boolean): Promise<void>;
}

/**
 * Runs `body` in transactions until one commits. A conflict comes as EAGAIN from the commit or, where a connection
 * was lost and the transaction with it, from any operation; the whole body then runs again.
 */
export async function runTransaction<T>(
  begin: () => Promise<OpenTransaction>,
  body: (view: StoreView) => Promise<T>,
  attempts: number,
): Promise<T> {
  let conflict: unknown;
  for (let attempt = 0; attempt < attempts; attempt += 1) {
    try {
      return await attemptOnce(await begin(), body);
    } catch (error) {
      if (!isStoreError(error, 'EAGAIN')) throw error;
      conflict = error;
    }
  }
  throw storeError('EAGAIN', MessageType.TRANSACTION_END, '', conflict);
}

async function attemptOnce<T>(
  transaction: OpenTransaction,
  body: (view: StoreView) => Promise<T>,
): Promise<T> {
  let ended = false;
  const view = storeView((type, path, payload) => {
    if (!ended) return transaction.talk(type, path, payload);
    const message = `The transaction is over: its view cannot be used for ${JSON.stringify(path)} any more.`;
    return Promise.reject(new VifdError('ERR_STATE', message));
  });
  let result: T;
  try {
    result = await body(view);
  } catch (error) {
    ended = true;
    await abort(transaction);
    throw error;
  }
  ended = true;
  await transaction.end(true);
  return result;
}

async function abort(transaction: OpenTransaction): Promise<void> {
  try {
    await transaction.end(false);
  } catch (error) {
    // The transaction ended with its connection: nothing is left to abort, and the body's own error matters more.
    if (!isStoreError(error, 'EAGAIN') && !isStoreError(error, 'ENOENT')) throw error;
  }
}
