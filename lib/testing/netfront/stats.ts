/** Counters of one direction. Plain numbers: they are written on the data path. */
export class DirectionStats {
  /** Frames that the guest sent, or received. */
  frames = 0;
  /** The bytes of these frames. */
  bytes = 0;
  /** Those of them that are to be cut into segments. */
  gsoFrames = 0;
  /** Slots requested. */
  requests = 0;
  /** Responses of the backend. */
  responses = 0;
  /** From-guest: slots whose response was an error. To-guest: buffers that came back without a frame. */
  errors = 0;
  /** From-guest: frames that do not fit into the ring, and responses by which the backend drops one. To-guest: frames that the port refused. */
  dropped = 0;
  /** Events sent to the backend. */
  notifications = 0;
  /** Events that the backend sent. */
  events = 0;
  /** From-guest: how often the ring had no room for the next frame. */
  ringFull = 0;
  /** From-guest: for how long, in milliseconds. */
  ringFullMs = 0;
}

/** Counts that can be read and not changed. */
export type StatsOf<T> = { readonly [K in keyof T]: T[K] };

/** Returns the sums over several queues. */
export function sumOfStats(all: readonly DirectionStats[]): DirectionStats {
  const sum = new DirectionStats();
  for (const stats of all)
    for (const key of Object.keys(sum) as (keyof DirectionStats)[]) sum[key] += stats[key];
  return sum;
}
