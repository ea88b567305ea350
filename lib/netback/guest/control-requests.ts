import * as control from '../../protocol/control.js';
import { HASH_KEY_BYTES } from '../../protocol/toeplitz.js';
import type { GuestPage } from './guest-page.js';
import type { HashState } from './hash.js';
import type { Staging } from './staging.js';
import { ENTRIES_MAX as STAGED_ENTRIES_MAX, StagingRequests } from './staging-requests.js';

const { CTRL_INVALID_PARAMETER, CTRL_NOT_SUPPORTED, CTRL_SUCCESS } = control;

/**
 * Executes the requests of a guest's control ring, with the limits and responses of Linux's netback. Each request has the same effect when it
 * runs twice: after a kill before the response, the next process executes the request again.
 */
export class ControlRequests {
  /** The `data` of the response to the last request. */
  data = 0;
  readonly #hash: HashState;
  readonly #page: GuestPage;
  readonly #staging: StagingRequests;

  constructor(parts: {
    hash: HashState;
    /** Undefined for a queue that the guest does not have. */
    stagingOf: (queue: number) => Staging | undefined;
    page: GuestPage;
  }) {
    this.#hash = parts.hash;
    this.#page = parts.page;
    this.#staging = new StagingRequests(parts.stagingOf, parts.page);
  }

  /**
   * Executes a request.
   * @param request a private copy, CTRL_REQUEST_WORDS words.
   * @param at the request's place in the ring.
   * @returns the status for the response, CTRL_*.
   */
  execute(request: Uint32Array, at: number): number {
    const [first, second, third] = [request[1], request[2], request[3]];
    this.data = 0;
    switch (request[0] >>> 16) {
      case control.CTRL_SET_HASH_ALGORITHM:
        return statusOf(this.#hash.setAlgorithm(first));
      case control.CTRL_GET_HASH_FLAGS:
        return this.#flags();
      case control.CTRL_SET_HASH_FLAGS:
        return statusOf(this.#hash.setFlags(first));
      case control.CTRL_SET_HASH_KEY:
        return this.#setKey(first, second);
      case control.CTRL_GET_HASH_MAPPING_SIZE:
        this.data = control.HASH_MAPPING_MAX;
        return CTRL_SUCCESS;
      case control.CTRL_SET_HASH_MAPPING_SIZE:
        return statusOf(this.#hash.setMappingSize(first));
      case control.CTRL_SET_HASH_MAPPING:
        return this.#setMapping(first, second, third);
      case control.CTRL_GET_GREF_MAPPING_SIZE:
        return this.#withData(this.#staging.size(first));
      case control.CTRL_ADD_GREF_MAPPING:
        return this.#staging.add(first, second, third);
      case control.CTRL_DEL_GREF_MAPPING:
        return this.#withData(this.#staging.remove(first, second, third, at));
      default:
        return CTRL_NOT_SUPPORTED;
    }
  }

  /** @param request as for `execute`. @returns how many grants the request maps or unmaps. A list longer than a page is refused unread. */
  grantsOf(request: Uint32Array): number {
    const type = request[0] >>> 16;
    const stages = type === control.CTRL_ADD_GREF_MAPPING || type === control.CTRL_DEL_GREF_MAPPING;
    return stages ? Math.min(request[3], STAGED_ENTRIES_MAX) : 0;
  }

  /** Call it once the response is published: completes the removal of grants. */
  settle(): void {
    this.#staging.settle();
  }

  #withData(status: number): number {
    this.data = this.#staging.data;
    return status;
  }

  /** GET_HASH_FLAGS: responds with the flags that a guest may set, not with those that are set. */
  #flags(): number {
    if (this.#hash.algorithm === control.HASH_ALGORITHM_NONE) return CTRL_NOT_SUPPORTED;
    this.data = control.HASH_TYPES;
    return CTRL_SUCCESS;
  }

  #setKey(ref: number, length: number): number {
    // netif.h has BUFFER_OVERFLOW for a key that is too long, but guests know the response of Linux.
    if (length > HASH_KEY_BYTES || !this.#page.read(ref, length)) return CTRL_INVALID_PARAMETER;
    this.#hash.setKey(this.#page.bytes, length);
    return CTRL_SUCCESS;
  }

  #setMapping(ref: number, entries: number, offset: number): number {
    if (!this.#hash.hasEntries(offset, entries)) return CTRL_INVALID_PARAMETER;
    if (!this.#page.read(ref, entries * control.HASH_MAPPING_ENTRY_BYTES)) return CTRL_INVALID_PARAMETER;
    return statusOf(this.#hash.setMapping(this.#page.words, offset, entries));
  }
}

function statusOf(valid: boolean): number {
  return valid ? CTRL_SUCCESS : CTRL_INVALID_PARAMETER;
}
