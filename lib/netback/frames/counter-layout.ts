/**
 * Where each of a vif's counts lies in its page of counters: one double each, 8 bytes, aligned. All figures are in doubles. The first 8 are
 * the journal's head.
 */

/** One page. */
export const COUNTER_PAGE_DOUBLES = 512;

/** Frames for the guest that the vif's port dropped before vifd could read them. The 7 doubles behind it are 0. */
export const AT_PORT_DROPPED = 8;

/** 16 queues, one behind the other. */
export const AT_QUEUES = 16;
export const QUEUE_DOUBLES = 31;

// In a queue.
export const AT_FROM_GUEST = 0;
export const AT_TO_GUEST = 15;
export const AT_STALLS = 30;

// In the flow of a direction.
export const FLOW_DOUBLES = 15;
export const AT_FRAMES = 0;
export const AT_BYTES = 1;
export const AT_FILTERED = 2;
export const AT_ERRORS = 3;
export const AT_HOOK_ERRORS = 4;
export const AT_BATCHES = 5;
/** The reasons for which frames are dropped are all that is behind. */
export const AT_DROPS = {
  port: 6,
  refused: 7,
  offload: 8,
  unsupported: 9,
  buffers: 10,
  queue: 11,
  stale: 12,
  detached: 13,
  damaged: 14,
} as const;

/** 'VIFN', the first word of the page. */
export const COUNTERS_MAGIC = 0x4e464956;
