import type { Flow, VifStats } from './types.js';

/** Counts of one direction; plain fields, written once a batch. */
export class FlowCounters implements Flow {
  frames = 0;
  bytes = 0;
  filtered = 0;
  dropped = 0;
  errors = 0;
  hookErrors = 0;
  batches = 0;
}

/** One queue's counts, of all connections of its vif. */
export interface QueueCounters {
  readonly fromGuest: FlowCounters;
  readonly toGuest: FlowCounters;
}

/** A vif's counts, by queue: of each that it has, or had. */
export class VifCounters {
  readonly #queues: QueueCounters[] = [];
  readonly #droppedByPort: () => number;

  /** @param droppedByPort how many frames for the guest its port dropped, which no queue has seen. */
  constructor(droppedByPort: () => number) {
    this.#droppedByPort = droppedByPort;
  }

  of(queue: number): QueueCounters {
    const counters = this.#queues[queue] ?? { fromGuest: new FlowCounters(), toGuest: new FlowCounters() };
    this.#queues[queue] = counters;
    return counters;
  }

  get sum(): VifStats {
    const toGuest = sumOf(this.#queues.map(({ toGuest: flow }) => flow));
    return {
      fromGuest: sumOf(this.#queues.map(({ fromGuest }) => fromGuest)),
      toGuest: { ...toGuest, dropped: toGuest.dropped + this.#droppedByPort() },
    };
  }

  get queues(): readonly VifStats[] {
    return this.#queues.map(({ fromGuest, toGuest }) => ({
      fromGuest: { ...fromGuest },
      toGuest: { ...toGuest },
    }));
  }
}

/** What several flows come to together. */
function sumOf(flows: readonly Flow[]): Flow {
  const sum = new FlowCounters();
  for (const flow of flows) {
    sum.frames += flow.frames;
    sum.bytes += flow.bytes;
    sum.filtered += flow.filtered;
    sum.dropped += flow.dropped;
    sum.errors += flow.errors;
    sum.hookErrors += flow.hookErrors;
    sum.batches += flow.batches;
  }
  return { ...sum };
}
