import { fileURLToPath } from 'node:url';
import { BACKEND_PROGRAM } from '../../worlds/places.js';

/** Which compiled vifd a world runs. */
export interface Tree {
  readonly vifd: string;
  /** The compiled folder `faults`, for programs that embed vifd. */
  readonly faults: string;
  /** Options of node. */
  readonly node: readonly string[];
  readonly env: NodeJS.ProcessEnv;
}

/** What users run. */
export const WHOLE: Tree = {
  vifd: BACKEND_PROGRAM,
  faults: fileURLToPath(new URL('..', import.meta.url)),
  node: [],
  env: {},
};
