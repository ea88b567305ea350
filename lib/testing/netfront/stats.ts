/** Counters of one direction. Plain numbers: they are written on the data path. */
export class DirectionStats {
  frames = 0;
  bytes = 0;
  gsoFrames = 0;
  /** Slots requested. */
  requests = 0;
  responses = 0;
  /** From-guest: slots whose response was an error. To-guest: buffers that came back without a frame. */
  errors = 0;
  dropped = 0;
  /** Events sent to the backend. */
  notifications = 0;
  /** Events that the backend sent. */
  events = 0;
  /** From-guest: how often, and how long, the ring had no room for the next frame. */
  ringFull = 0;
  ringFullMs = 0;
}

export type StatsOf<T> = { readonly [K in keyof T]: T[K] };

/** Returns the sums over several queues. */
export function sumOfStats(all: readonly DirectionStats[]): DirectionStats {
  const sum = new DirectionStats();
  for (const stats of all)
    for (const key of Object.keys(sum) as (keyof DirectionStats)[]) sum[key] += stats[key];
  return sum;
}
