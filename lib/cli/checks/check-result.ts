import type { CodeCache } from '../../host/code-cache.js';

/** `missing`: `vifd run` cannot serve. `warn`: it can serve, but something may behave unexpectedly. */
export type CheckState = 'ok' | 'warn' | 'missing';

/** One line of `vifd check`. */
export interface Check {
  readonly name: string;
  readonly state: CheckState;
  readonly found: string;
  /** What the operator can do; undefined with `ok`. */
  readonly remedy?: string;
}

export interface CheckOptions {
  /** A prefix for every path that is checked, for tests. Default: none. */
  readonly root?: string;
  readonly store?: string;
  readonly libraries?: string;
  /** The runtime directory, where `vifd run` has its journals. */
  readonly journal: string;
  /** The code cache of what `vifd run` starts from; undefined if it starts from single modules. */
  readonly code?: CodeCache | undefined;
}
