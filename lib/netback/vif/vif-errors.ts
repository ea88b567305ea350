import { VifdError, vifdErrorOf } from '../../errors.js';
import type { VifId } from '../vif-info.js';

/** Returns the error of a call that would write to a guest for a vif that another backend may serve by now. */
export function ended(id: VifId): VifdError {
  return new VifdError('ERR_STATE', `${id} was detached: open the Netback again, and use its vif.`, {
    vif: id,
  });
}

/** @returns an error with the message of `thrown`, which also names the vif. */
export function named(id: VifId, thrown: unknown): VifdError {
  const error = vifdErrorOf(thrown);
  const { code, message, errno } = error;
  if (message.includes(id)) return error;
  const details = { vif: id, cause: thrown, ...(errno === undefined ? {} : { errno }) };
  return new VifdError(code, `${id}: ${message}`, details);
}
