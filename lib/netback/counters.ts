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

/** One queue's counts, of all connections of its vif. */
export interface QueueCounters {
  readonly fromGuest: FlowCounters;
  readonly toGuest: FlowCounters;
}

export function newQueueCounters(): QueueCounters {
  return { fromGuest: new FlowCounters(), toGuest: new FlowCounters() };
}

/** What several flows come to together. */
export function sumOf(flows: readonly Flow[]): Flow {
  const sum = new FlowCounters();
  for (const flow of flows) {
    sum.frames += flow.frames;
    sum.bytes += flow.bytes;
    sum.filtered += flow.filtered;
    sum.dropped += flow.dropped;
    sum.errors += flow.errors;
    sum.batches += flow.batches;
  }
  return { ...sum };
}
