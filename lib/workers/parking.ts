import type { EventLog } from '../daemon/run-log.js';
import { VifdError } from '../errors.js';
import type { VifPlace } from '../netback/vif/directory.js';
import type { VifId } from '../netback/vif-info.js';
import type { Clock } from '../xen/seam.js';

export interface ParkingParts {
  readonly clock: Clock;
  readonly log: Pick<EventLog, 'mended' | 'parked'>;
  /** Called when a parked vif may be served again. */
  readonly onAgain: (place: VifPlace) => void;
}

export interface Parked {
  readonly place: VifPlace;
  readonly reason: string;
  /** When vifd tries again (monotonic ms). */
  readonly untilMs: number;
}

interface Suspected extends Parked {
  /** For how long it was parked the last time. */
  readonly pauseMs: number;
  /** Undefined while it is on trial. */
  timer: Disposable | undefined;
}

const FIRST_PAUSE_MS = 30_000;
const MOST_PAUSE_MS = 3_600_000;

/** The vifs whose workers died each time: they are not served for a while, so that their neighbours are. */
export class Parking {
  readonly #parts: ParkingParts;
  readonly #suspected = new Map<VifId, Suspected>();

  constructor(parts: ParkingParts) {
    this.#parts = parts;
  }

  /** The vifs that are not served now. */
  get parked(): ReadonlyMap<VifId, Parked> {
    return new Map([...this.#suspected].filter(([, { timer }]) => timer !== undefined));
  }

  isParked(id: VifId): boolean {
    return this.#suspected.get(id)?.timer !== undefined;
  }

  /** Whether a vif was parked, and no worker has lived with it since: it gets a worker of its own. */
  isSuspected(id: VifId): boolean {
    return this.#suspected.has(id);
  }

  /** Stops serving a vif: for 30 s at first, and twice as long each time after that, up to an hour. */
  park(place: VifPlace): void {
    const { clock, log, onAgain } = this.#parts;
    const { id } = place;
    const before = this.#suspected.get(id);
    before?.timer?.[Symbol.dispose]();
    const pauseMs = before === undefined ? FIRST_PAUSE_MS : Math.min(before.pauseMs * 2, MOST_PAUSE_MS);
    const reason =
      `${id} is parked: each worker that served it died, so it has no network, and other guests are served. vifd tries again in ` +
      `${pauseMs / 1000} s. The log has how the workers ended (worker-died): report that, and restart the guest.`;
    const untilMs = clock.now() + pauseMs;
    const suspected: Suspected = { place, reason, pauseMs, untilMs, timer: undefined };
    suspected.timer = clock.after(pauseMs, () => {
      suspected.timer = undefined;
      onAgain(place);
    });
    this.#suspected.set(id, suspected);
    log.parked(id, reason, pauseMs);
  }

  /** Call it when a worker has lived with the vif. */
  clear(id: VifId): void {
    const suspected = this.#suspected.get(id);
    if (suspected === undefined) return;
    this.forget(id);
    this.#parts.log.mended(new VifdError('ERR_WORKER', suspected.reason, { vif: id }), undefined);
  }

  /** Call it when the vif is gone. */
  forget(id: VifId): void {
    this.#suspected.get(id)?.timer?.[Symbol.dispose]();
    this.#suspected.delete(id);
  }

  end(): void {
    for (const id of [...this.#suspected.keys()]) this.forget(id);
  }
}
