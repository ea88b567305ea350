/** Messages between the programs of this bench, over IPC. */

export interface PingOrder {
  /** Of the guest that echoes. */
  readonly address: string;
  readonly count: number;
  readonly everyMs: number;
  /** With each ping, datagrams to a guest that is not to reply. */
  readonly besides?: { readonly address: string; readonly datagrams: number } | undefined;
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

/** How many responses the flooders have got since they connected, in their order. */
export interface Counted {
  readonly frames: readonly number[];
  readonly atMs: number;
}
