import type { HostileGuest } from '../hostile-guest.js';

/** Does a bounded amount of harm. @returns how often it did it, in the attack's own unit. */
export type Strike = () => number | Promise<number>;

/** A mode of attack: something that the protocol or the store lets a guest do as often as it likes. */
export interface Attack {
  readonly name: string;
  /** What it does, and what is counted. */
  readonly does: string;
  readonly counts: string;
  /** Queues that it connects with. Default: as many as there may be. */
  readonly queues?: number;
  /** Datagrams that the host sends it with each ping of its neighbour. Default: none. */
  readonly receives?: number;
  /** Prepares a connected guest. @returns what is then done again and again. */
  begin(guest: HostileGuest): Strike | Promise<Strike>;
}
