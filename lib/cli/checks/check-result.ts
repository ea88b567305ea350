/** `missing`: without it `vifd run` cannot serve. `warn`: it can, and something will not go as it may be expected. */
export type CheckState = 'ok' | 'warn' | 'missing';

/** One line of `vifd check`. */
export interface Check {
  readonly name: string;
  readonly state: CheckState;
  readonly found: string;
  /** What to do; with `ok` there is nothing to do. */
  readonly remedy?: string;
}

export interface CheckOptions {
  /** Goes before every path that is looked at: another machine's files, for tests. Default: none. */
  readonly root?: string;
  readonly store?: string;
  readonly libraries?: string;
  /** Where `vifd run` keeps its journals. */
  readonly journal: string;
}
