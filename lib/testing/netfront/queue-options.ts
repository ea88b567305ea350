import type { Clock, Shares } from '../../xen/seam.js';
import type { Xorshift } from './random.js';
import type { Violations } from './violations.js';

/** Options of both directions. */
export interface QueueOptions {
  readonly shares: Shares;
  readonly backendDomid: number;
  readonly clock: Clock;
  readonly violations: Violations;
  readonly random: Xorshift;
  readonly keepGrants: boolean;
  /** Where the ring's indices start. */
  readonly ringStart: number;
  /** Sends an event to the backend. */
  notify(): void;
}

export interface TransmitOptions extends QueueOptions {
  /** Whether the response to a request stands in the request's slot. vifd promises it, Linux's netback does not. */
  readonly inOrder: boolean;
  /** Called with the status of each frame's first slot; frames count from 0. Only with `inOrder`. */
  readonly onResponse?: (frame: number, status: number) => void;
}
