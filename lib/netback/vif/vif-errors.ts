import { VifdError, vifdErrorOf } from '../../errors.js';
import type { VifId } from '../vif-info.js';

/** What a call gets that would tell a guest something on behalf of a vif that another backend may serve by now. */
export function ended(id: VifId): VifdError {
  return new VifdError('ERR_STATE', `${id} was detached: open the Netback again, and use its vif.`, {
    vif: id,
  });
}

/** @returns what was thrown as an error whose message names the vif. */
export function named(id: VifId, thrown: unknown): VifdError {
  const error = vifdErrorOf(thrown);
  const { code, message, errno } = error;
  if (message.includes(id)) return error;
  const details = { vif: id, cause: thrown, ...(errno === undefined ? {} : { errno }) };
  return new VifdError(code, `${id}: ${message}`, details);
}
