import { VifdError } from '../../errors.js';
import type { Clock, StoreView } from '../seam.js';
import { Pauses } from './retry.js';
import { storeView, type Talk } from './view.js';
import { isStoreError, MessageType, storeError } from './wire.js';

/** How often to begin a transaction while the quota is used up, over 470 ms in all. Then the error goes to the caller. */
const QUOTA_ATTEMPTS = 7;
const QUOTA_PAUSES = { firstMs: 10, mostMs: 160 };
/** Errnos for a quota that is used up: ENOSPC from the C xenstored, EQUOTA from oxenstored. */
const QUOTA_ERRNOS = ['ENOSPC', 'EQUOTA'] as const;

/** One transaction that was begun. */
export interface OpenTransaction {
  readonly talk: Talk;
  /** Rejects with EAGAIN when the commit met a conflict. */
  end(commit: boolean): Promise<void>;
}

/**
 * Runs `body` in transactions until one commits. The commit rejects with EAGAIN after a conflict, and any operation does if the connection,
 * and the transaction with it, was lost. The whole body then runs again.
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

/**
 * Begins a transaction; tries again while transactions of other programs use up the domain's quota.
 * @throws ENOSPC or EQUOTA if that lasts.
 */
export async function beginWithinQuota(
  begin: () => Promise<OpenTransaction>,
  clock: Clock,
  signal: AbortSignal,
): Promise<OpenTransaction> {
  const pauses = new Pauses({ ...QUOTA_PAUSES, clock, signal });
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await begin();
    } catch (error) {
      const full = QUOTA_ERRNOS.some((errno) => isStoreError(error, errno));
      if (!full || attempt === QUOTA_ATTEMPTS) throw error;
      await pauses.again();
    }
  }
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
