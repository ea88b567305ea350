import type { Permission } from '../../lib/xen/seam.js';

export interface StoredNode {
  readonly path: string;
  /** base64 */
  readonly value: string;
  readonly permissions: readonly Permission[];
}

export interface StoreState {
  readonly nodes: readonly StoredNode[];
  /** Of domain 0, on all its connections. */
  readonly watches: number;
}

/** What vifd is refused from now on. */
export interface Refusal {
  readonly errno: string;
  /** A regular expression of the paths. */
  readonly path: string;
  /** Methods of the model's StoreSession: `read`, `write`, `list`, `begin`, `end`, `watch`, … */
  readonly types: readonly string[];
}

export type StoreCommand =
  | { readonly do: 'load'; readonly nodes: readonly StoredNode[] }
  /** At vifd's socket and the toolstack's, or at the guests'. */
  | { readonly do: 'listen'; readonly at: 'host' | 'guests' }
  | { readonly do: 'state' }
  | { readonly do: 'refuse'; readonly refusal: Refusal | undefined };
