import {
  CTRL_SET_HASH_ALGORITHM,
  CTRL_SET_HASH_FLAGS,
  CTRL_SET_HASH_KEY,
  CTRL_SET_HASH_MAPPING,
  CTRL_SET_HASH_MAPPING_SIZE,
  HASH_ALGORITHM_TOEPLITZ,
} from '../../protocol/control.js';
import { type ControlFront, type ControlResponse, succeeded } from './control.js';

/** A guest's settings of hashing. */
export interface HashSetUp {
  /** HASH_TYPE_* as bits. */
  readonly types: number;
  /** The key, 40 bytes. */
  readonly key: Uint8Array;
  /** Queues by hash, modulo its length; none: by the remainder. */
  readonly mapping?: readonly number[];
}

/**
 * Sets up hashing. Sets the kinds of hashes last, so that no frame is hashed by a key that is not set yet.
 * @returns whether the backend accepted all settings.
 */
export async function setUpHash(control: ControlFront, { types, key, mapping }: HashSetUp): Promise<boolean> {
  const responses: ControlResponse[] = [await setHashKey(control, key)];
  if (mapping !== undefined) {
    responses.push(await control.request(CTRL_SET_HASH_MAPPING_SIZE, mapping.length));
    responses.push(await setHashMapping(control, mapping));
  }
  responses.push(await control.request(CTRL_SET_HASH_ALGORITHM, HASH_ALGORITHM_TOEPLITZ));
  responses.push(await control.request(CTRL_SET_HASH_FLAGS, types));
  return responses.every(succeeded);
}

/**
 * Asks the backend to use a key for the hash. @returns its response: status 0 if it does.
 * @throws VifdError ERR_STATE if it does not respond in time.
 */
export function setHashKey(control: ControlFront, key: Uint8Array): Promise<ControlResponse> {
  const padded = new Uint8Array(Math.ceil(key.length / 4) * 4);
  padded.set(key);
  const words = new Uint32Array(padded.buffer);
  return control.requestWithPage(CTRL_SET_HASH_KEY, words, (ref) => [ref, key.length]);
}

/**
 * Asks the backend to send hashes to these queues, from entry `offset` of its mapping on. @returns its response: status 0 if it does.
 * @throws VifdError ERR_STATE if it does not respond in time.
 */
export function setHashMapping(
  control: ControlFront,
  queues: readonly number[],
  offset = 0,
): Promise<ControlResponse> {
  return control.requestWithPage(CTRL_SET_HASH_MAPPING, queues, (ref) => [ref, queues.length, offset]);
}
