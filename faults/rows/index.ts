import type { Row } from '../row.js';
import { descriptorRows } from './descriptors.js';
import { diskRows } from './disk.js';
import { guestRows } from './guests.js';
import { hookRows } from './hooks.js';
import { linkRows } from './links.js';
import { memoryRows } from './memory.js';
import { processRows } from './process.js';
import { signalRows } from './signals.js';
import { storeRows } from './store.js';
import { workerRows } from './workers.js';

export const ROWS: readonly Row[] = [
  ...memoryRows,
  ...descriptorRows,
  ...diskRows,
  ...storeRows,
  ...linkRows,
  ...signalRows,
  ...processRows,
  ...workerRows,
  ...guestRows,
  ...hookRows,
];
