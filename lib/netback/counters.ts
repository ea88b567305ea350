import type { Flow } from './types.js';

/** Counts of one direction; plain fields, written once a batch. */
export class FlowCounters implements Flow {
  frames = 0;
  bytes = 0;
  filtered = 0;
  dropped = 0;
  errors = 0;
  batches = 0;
}
