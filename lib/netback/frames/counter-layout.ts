import { DOUBLE, DROPS, FLOW, LAYOUTS, QUEUE_COUNTERS } from '../../durable/layout.js';

/** Offsets of a vif's counts in its page of counters, in doubles (durable/layout.ts). */
const { words, bytes } = LAYOUTS[8].counters;

export const COUNTER_PAGE_DOUBLES = bytes / Float64Array.BYTES_PER_ELEMENT;
export const AT_PORT_DROPPED = words.at.portDropped / DOUBLE;
export const AT_QUEUES = words.at.queues / DOUBLE;
export const QUEUE_DOUBLES = QUEUE_COUNTERS.words / DOUBLE;

// In a queue.
export const AT_FROM_GUEST = QUEUE_COUNTERS.at.fromGuest / DOUBLE;
export const AT_TO_GUEST = QUEUE_COUNTERS.at.toGuest / DOUBLE;
export const AT_STALLS = QUEUE_COUNTERS.at.stalls / DOUBLE;

// In the flow of a direction.
export const FLOW_DOUBLES = FLOW.words / DOUBLE;
export const AT_FRAMES = FLOW.at.frames / DOUBLE;
export const AT_BYTES = FLOW.at.bytes / DOUBLE;
export const AT_FILTERED = FLOW.at.filtered / DOUBLE;
export const AT_ERRORS = FLOW.at.errors / DOUBLE;
export const AT_HOOK_ERRORS = FLOW.at.hookErrors / DOUBLE;
export const AT_BATCHES = FLOW.at.batches / DOUBLE;

const dropAt = (reason: keyof typeof DROPS.at) => (FLOW.at.drops + DROPS.at[reason]) / DOUBLE;
export const AT_DROPS = {
  port: dropAt('port'),
  refused: dropAt('refused'),
  offload: dropAt('offload'),
  unsupported: dropAt('unsupported'),
  buffers: dropAt('buffers'),
  queue: dropAt('queue'),
  stale: dropAt('stale'),
  detached: dropAt('detached'),
  damaged: dropAt('damaged'),
} as const;
