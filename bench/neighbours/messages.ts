/** What the programs of this bench tell each other over IPC. */

export interface PingOrder {
  readonly count: number;
  readonly everyMs: number;
}

export interface RoundTrips {
  /** Of those that came back. */
  readonly rttMs: readonly number[];
  readonly lost: number;
}

/** What an attacker has done since it connected, by its own count. */
export interface Tally {
  readonly count: number;
  readonly atMs: number;
}

/** From a guest: it is connected. */
export interface Connected {
  readonly connected: true;
}
