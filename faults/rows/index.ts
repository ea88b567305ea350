import type { Row } from '../row.js';
import { linkRows } from './links.js';
import { memoryRows } from './memory.js';

/** In the order in which they run: those of one setting together. */
export const ROWS: readonly Row[] = [...memoryRows, ...linkRows];
