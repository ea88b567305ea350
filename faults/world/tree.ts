import { fileURLToPath } from 'node:url';
import { BACKEND_PROGRAM } from '../../worlds/places.js';

/** The compiled vifd that a world runs. */
export interface Tree {
  readonly vifd: string;
  /** The compiled folder `faults`, for programs that embed vifd. */
  readonly faults: string;
  /** Options of node. */
  readonly node: readonly string[];
  readonly env: NodeJS.ProcessEnv;
}

/** The vifd that users run. */
export const WHOLE: Tree = {
  vifd: BACKEND_PROGRAM,
  faults: fileURLToPath(new URL('..', import.meta.url)),
  node: [],
  env: {},
};
