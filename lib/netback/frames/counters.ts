export interface Flow {
  readonly frames: number;
  readonly bytes: number;
  /** By a hook, or as the guest's multicast list says. */
  readonly filtered: number;
  /** For want of room in vifd or, before that, in the port; or because the guest cannot take such a frame. */
  readonly dropped: number;
  /** Frames that could not be read or written: bad grants, bad sizes. */
  readonly errors: number;
  /** Dropped because a hook threw or returned no verdict (ERR_HOOK). */
  readonly hookErrors: number;
  /** Crossings of the data path; frames / batches tells how well it batches. */
  readonly batches: number;
}

export interface VifStats {
  readonly fromGuest: Flow;
  readonly toGuest: Flow;
}

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
