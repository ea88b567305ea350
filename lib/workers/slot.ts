import type { Named } from '../netback/vif/directory.js';
import type { VifId } from '../netback/vif-info.js';
import type { Clock } from '../xen/seam.js';
import { Deaths } from './deaths.js';
import type { Fleet } from './fleet.js';
import type { RunningWorker } from './running-worker.js';

export interface SlotParts {
  readonly clock: Clock;
  readonly fleet: Pick<Fleet, 'take'>;
  /** The domain whose vifs it has, where each guest has a worker of its own. */
  readonly guest: number | undefined;
  /** Resolves when the process that served its vifs before stores nothing any more. */
  readonly after: Promise<unknown>;
  /** See `Deaths`. */
  readonly oomKills: () => number;
  /** Called when it was on trial and its worker has lived. */
  readonly onSound: (slot: Slot) => void;
}

/** A worker on trial that has lived so long clears its vifs. */
const TRIAL_MS = 60_000;

/** The vifs that one worker serves; when it dies, the next worker gets all of them. */
export class Slot {
  readonly vifs = new Set<VifId>();
  /** Resolves when it is decided which slot has its vifs, after a death that made one of them suspect. Until then no worker may serve them. */
  judged: Promise<void> | undefined;
  readonly #parts: SlotParts;
  #after: Promise<unknown>;
  #worker: RunningWorker | undefined;
  #starting: Promise<RunningWorker> | undefined;
  readonly #deaths: Deaths;
  #onTrial = false;
  #trial: Disposable | undefined;

  /** @param worker one that serves its vifs already. */
  constructor(parts: SlotParts, worker?: RunningWorker) {
    this.#parts = parts;
    this.#after = parts.after;
    this.#deaths = new Deaths(parts.oomKills);
    this.#worker = worker;
    if (worker !== undefined) this.#starting = Promise.resolve(worker);
  }

  /** The worker that has its vifs; undefined while it has none. */
  get worker(): RunningWorker | undefined {
    return this.#worker;
  }

  get guest(): number | undefined {
    return this.#parts.guest;
  }

  /** Resolves when the process that served its vifs before stores nothing any more. */
  get after(): Promise<unknown> {
    return this.#after;
  }

  /** Whether one of its vifs is suspected of killing workers: then it gets no other vif, and one more death is enough. */
  get onTrial(): boolean {
    return this.#onTrial;
  }

  /** Returns its worker, or the next one as soon as that may serve. @throws VifdError ERR_WORKER if none can be started now. */
  start(): Promise<RunningWorker> {
    this.#starting ??= this.#start().catch((error) => {
      this.#starting = undefined;
      throw error;
    });
    return this.#starting;
  }

  /**
   * Call it when its worker has died. @returns whether one of its vifs is to be suspected, once that is known; undefined if that would need
   * more deaths.
   */
  lost(nowMs: number): Promise<boolean> | undefined {
    this.#trial?.[Symbol.dispose]();
    const { gone, silenced } = this.#worker as RunningWorker;
    this.#worker = undefined;
    this.#starting = undefined;
    this.#after = silenced;
    const counts = this.#deaths.add(nowMs, gone);
    if (this.vifs.size === 0 || !(this.#onTrial || this.#deaths.areTooMany)) return undefined;
    return counts;
  }

  /** Puts it on trial, until a worker has lived for a minute. */
  tryOut(): void {
    this.#onTrial = true;
    this.#deaths.clear();
  }

  isConcerned(named: Named): boolean {
    return named === undefined || [...this.vifs].some((id) => isNamed(id, named));
  }

  end(): void {
    this.#trial?.[Symbol.dispose]();
  }

  async #start(): Promise<RunningWorker> {
    const { fleet } = this.#parts;
    for (;;) {
      const taking = fleet.take();
      // Its failure counts only once the previous process is silent, since the caller then lets another slot serve the vifs.
      taking.catch(() => undefined);
      await this.#after;
      const worker = await taking;
      if (worker.ending || worker.ended) continue;
      this.#begin(worker);
      return worker;
    }
  }

  #begin(worker: RunningWorker): void {
    this.#worker = worker;
    if (!this.#onTrial) return;
    this.#trial = this.#parts.clock.after(TRIAL_MS, () => {
      this.#onTrial = false;
      this.#parts.onSound(this);
    });
  }
}

/** Whether a change concerns a vif. */
export function isNamed(id: VifId, named: Named): boolean {
  if (named === undefined) return true;
  return 'id' in named ? named.id === id : id.startsWith(`vif${named.domid}.`);
}
