import type { Permission } from '../../lib/xen/seam.js';

export interface StoredNode {
  readonly path: string;
  /** base64 */
  readonly value: string;
  readonly permissions: readonly Permission[];
}

export interface StoreState {
  readonly nodes: readonly StoredNode[];
  /** Requests of domain 0, on all its connections. */
  readonly watches: number;
}

/** The requests of vifd that the store refuses from now on. */
export interface Refusal {
  readonly errno: string;
  /** A regular expression that matches the paths. */
  readonly path: string;
  /** Methods of the model's StoreSession: `read`, `write`, `list`, `begin`, `end`, `watch`, … */
  readonly types: readonly string[];
}

export type StoreCommand =
  | { readonly do: 'load'; readonly nodes: readonly StoredNode[] }
  /** Whether it applies to the sockets of vifd and the toolstack, or to the guests'. */
  | { readonly do: 'listen'; readonly at: 'host' | 'guests' }
  | { readonly do: 'state' }
  | { readonly do: 'refuse'; readonly refusal: Refusal | undefined };
