/** The limits of an unprivileged domain. The figures are the defaults of xenstored (-E, -S, -W, -t, -A). */
export interface Quota {
  /** Nodes it owns; above: ENOSPC. */
  readonly entries: number;
  /** Size of a node's record; from here on: ENOSPC. */
  readonly nodeBytes: number;
  /** Watches of all its connections; above: E2BIG. */
  readonly watches: number;
  /** Open transactions of a connection; above: ENOSPC. */
  readonly transactions: number;
  /** Entries in a permission list; above: ENOSPC. */
  readonly permissionsPerNode: number;
}

export const DEFAULT_QUOTA: Quota = {
  entries: 1000,
  nodeBytes: 2048,
  watches: 128,
  transactions: 10,
  permissionsPerNode: 5,
};
