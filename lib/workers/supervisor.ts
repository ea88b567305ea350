import { closeSync } from 'node:fs';
import type { WorkerCount } from '../daemon/option-table.js';
import type { EventLog } from '../daemon/run-log.js';
import { type VifdError, vifdErrorOf } from '../errors.js';
import type { Admission, Named, VifPlace } from '../netback/vif/directory.js';
import type { VifServer } from '../netback/vif/discovery.js';
import type { VifId, VifState } from '../netback/vif-info.js';
import type { Clock } from '../xen/seam.js';
import type { ChannelStore } from './channel-store.js';
import { oomKills } from './deaths.js';
import type { Fleet } from './fleet.js';
import { Parking } from './parking.js';
import { ResponseWatch } from './response-watch.js';
import type { RunningWorker } from './running-worker.js';
import { isNamed, Slot } from './slot.js';

export interface SupervisorParts {
  readonly clock: Clock;
  readonly workers: WorkerCount;
  readonly fleet: Pick<Fleet, 'take' | 'replenish' | 'giveBack' | 'dismiss' | 'workers'>;
  readonly log: Pick<EventLog, 'error' | 'mended' | 'tookOver' | 'parked'>;
  /** How many processes of this host the kernel has killed for want of memory. Default: `deaths.ts` reads that. */
  readonly oomKills?: () => number;
  /** Returns the stored descriptors of a vif's tap by name. They stay the caller's. */
  readonly descriptorsOf: (vif: VifId) => ReadonlyMap<string, number>;
  /** The event channels of the vifs' connections. */
  readonly channels: Pick<ChannelStore, 'has' | 'take' | 'forget'>;
  /** Whether there is a vif at a place. */
  readonly isThere: (place: VifPlace) => Promise<boolean>;
  /**
   * Whether workers map the pages of guests' frames. A worker that died has them mapped until the kernel has freed its memory, and Linux's
   * netfront gives its device up if it gets a response for a page that is mapped ("Grant still in use by backend domain").
   */
  readonly mapsFrames: boolean;
  /** With a process for each guest: decides, before one is started, whether to serve a vif. Undefined: serve it. */
  readonly admits?: (place: VifPlace, connectedOnly: boolean) => Promise<Admission | undefined>;
  /** Called when a vif is not served any more; there may be a vif at its place. @param left whether its tap and journals may be left. */
  readonly onUnserved: (place: VifPlace, left: boolean) => void;
}

/** A vif that a worker serves, or is asked to serve. */
interface Assigned {
  readonly place: VifPlace;
  slot: Slot;
  /** Whether a worker has said that it serves the vif. It stays true while the vif passes to another worker. */
  served: boolean;
  /** When the present worker attached to its guest (monotonic ms); undefined if it has not. */
  attachedMs: number | undefined;
  /** The worker that died with the vif, until the next one serves it. */
  from: RunningWorker | undefined;
}

/** A vif as the log and `vifd show` name it. */
export interface SupervisedVif {
  readonly id: VifId;
  readonly state: VifState;
  readonly reason: string | undefined;
  /** When a parked vif is tried again (monotonic ms). */
  readonly parkedUntilMs?: number;
}

/** A vif whose worker died. */
const BETWEEN = {
  state: 'detached',
  reason: 'its worker died, and the next one does not serve it yet',
} as const;

/** How long to wait, in steps, for the lock of a vif that the previous process still has. */
const LOCKED_STEP_MS = 1;
const LOCKED_MS = 1000;

/**
 * Divides the vifs among workers, and gives those of a worker that died to the next one. A vif stays with its worker as long as that runs,
 * since each move is a gap.
 */
export class Supervisor implements VifServer {
  readonly #parts: SupervisorParts;
  readonly #vifs = new Map<VifId, Assigned>();
  readonly #slots = new Set<Slot>();
  readonly #parking: Parking;
  readonly #watch: ResponseWatch;
  #ended = false;

  constructor(parts: SupervisorParts) {
    const { clock, log } = parts;
    this.#parts = parts;
    this.#watch = new ResponseWatch({ clock, log });
    this.#parking = new Parking({ clock, log, onAgain: (place) => parts.onUnserved(place, false) });
  }

  /** The vifs that are served, pass from one worker to another, or are parked. */
  get vifs(): ReadonlyMap<VifId, SupervisedVif> {
    const all = new Map<VifId, SupervisedVif>();
    for (const [id, { slot, served }] of this.#vifs) {
      const { state, reason } = slot.worker?.remote.vifs.get(id) ?? BETWEEN;
      if (served) all.set(id, { id, state, reason });
    }
    for (const [id, { reason, untilMs }] of this.#parking.parked)
      all.set(id, { id, state: 'stopped', reason, parkedUntilMs: untilMs });
    return all;
  }

  get faults(): readonly VifdError[] {
    return this.#watch.faults;
  }

  /** Returns the worker that serves a vif; undefined while none does. */
  workerOf(id: VifId): RunningWorker | undefined {
    return this.#vifs.get(id)?.slot.worker;
  }

  placeOf(id: VifId): VifPlace | undefined {
    return (this.#vifs.get(id) ?? this.#parking.parked.get(id))?.place;
  }

  isServed(id: VifId): boolean {
    return this.#vifs.get(id)?.served === true;
  }

  domids(): ReadonlySet<number> {
    return new Set([...this.#vifs.values()].map(({ place }) => place.domid));
  }

  async found(place: VifPlace, connectedOnly: boolean): Promise<Admission> {
    const { id } = place;
    if (this.isServed(id)) return 'served';
    if (this.#ended) return 'refused';
    if (this.#parking.isParked(id)) {
      if (await this.#parts.isThere(place)) return 'refused';
      this.#forgetSuspected(place);
      return 'none';
    }
    const admission = await this.#parts.admits?.(place, connectedOnly);
    if (admission === 'none') this.#forgetSuspected(place);
    if (admission !== undefined) return admission;
    try {
      return await this.#serve(this.#assign(place), connectedOnly);
    } finally {
      this.#parts.fleet.replenish();
    }
  }

  /** Adds a worker of an earlier supervisor, with the vifs that it serves. */
  adopt(worker: RunningWorker, places: readonly VifPlace[]): void {
    const slot = this.#newSlot(places[0]?.domid, undefined, worker);
    for (const place of places)
      this.#vifs.set(place.id, { place, slot, served: true, attachedMs: undefined, from: undefined });
    for (const { id } of places) slot.vifs.add(id);
  }

  changed(path: string, named: Named): void {
    for (const slot of this.#slots) if (slot.isConcerned(named)) slot.worker?.remote.changed(path, named);
    // The discovery lists what is there, and so does not find out that a parked vif has ended.
    for (const { place } of this.#parking.parked.values())
      if (isNamed(place.id, named)) this.#parts.onUnserved(place, false);
  }

  domainGone(domid: number): void {
    for (const slot of this.#slots) if (slot.isConcerned({ domid })) slot.worker?.remote.domainGone(domid);
  }

  storeReturned(): void {
    for (const slot of this.#slots) slot.worker?.remote.storeReturned();
  }

  /** Call it when a worker reports that it has attached to a guest. */
  attached(id: VifId): void {
    const assigned = this.#vifs.get(id);
    if (assigned !== undefined) assigned.attachedMs = this.#parts.clock.now();
  }

  /** Call it when a worker reports that a vif has ended. */
  gone(worker: RunningWorker, id: VifId): void {
    const assigned = this.#vifs.get(id);
    if (assigned === undefined || assigned.slot.worker !== worker) return;
    this.#unassign(assigned);
    this.#parking.forget(id);
    this.#parts.onUnserved(assigned.place, false);
  }

  /** Call it when a worker serves no more. @returns the vifs that it had. */
  died(worker: RunningWorker): readonly VifId[] {
    const slot = [...this.#slots].find((one) => one.worker === worker);
    if (slot === undefined || this.#ended) return [];
    const vifs = [...slot.vifs];
    const nowMs = this.#parts.clock.now();
    const assigned = vifs.map((id) => this.#vifs.get(id) as Assigned);
    // One with a predecessor is still being taken over, which continues with the next worker.
    const served = assigned.filter((one) => one.served && one.from === undefined);
    for (const one of assigned) one.from = worker;
    slot.judged = slot.lost(nowMs)?.then((suspected) => {
      if (suspected && !this.#ended) this.#suspect(slot);
    });
    for (const one of assigned) one.attachedMs = undefined;
    if (slot.vifs.size === 0) this.#remove(slot);
    void this.#takeOver(served, worker, nowMs);
    return vifs;
  }

  /** Prevents further assignments and take-overs. The workers are the fleet's to end. */
  end(): void {
    this.#ended = true;
    this.#parking.end();
    for (const slot of this.#slots) slot.end();
  }

  /**
   * Has a worker serve a vif, and the next one if that dies meanwhile. Rejects if no worker can be started, or if the worker cannot serve the
   * vif.
   */
  async #serve(assigned: Assigned, connectedOnly: boolean): Promise<Admission> {
    const { place } = assigned;
    const { clock } = this.#parts;
    let lockedMs: number | undefined;
    for (;;) {
      let worker: RunningWorker | undefined;
      try {
        await assigned.slot.judged;
        if (this.#vifs.get(place.id) !== assigned || this.#ended) return 'refused';
        worker = await assigned.slot.start();
        if (this.#vifs.get(place.id) !== assigned || this.#ended) return 'refused';
        // Only once that process is gone, its channels can be bound anew, and the pages that it has mapped are free.
        const waits = this.#parts.mapsFrames || !this.#parts.channels.has(place.id);
        if (assigned.from?.isGone === false && waits) {
          await assigned.from.gone;
          if (worker.ended || this.#vifs.get(place.id) !== assigned) continue;
        }
        const admission = await this.#watch.watch(
          worker,
          place.id,
          this.#ask(worker, assigned, connectedOnly),
        );
        // It has died right behind its response.
        if (worker.ended) continue;
        // A worker that detaches refuses what it is asked then.
        if (admission !== 'served' && worker.ending) {
          await worker.gone;
          continue;
        }
        if (admission === 'served') {
          assigned.served = true;
          assigned.from = undefined;
        } else this.#unassign(assigned);
        if (admission === 'none') this.#forgetSuspected(place);
        return admission;
      } catch (thrown) {
        // `died` has decided who serves the vif next, or parked it.
        if (worker?.ending === true) await worker.gone;
        if (worker?.ended === true) continue;
        const error = vifdErrorOf(thrown);
        lockedMs ??= clock.now();
        if (error.code === 'ERR_RUNNING' && clock.now() - lockedMs < LOCKED_MS) {
          await new Promise<void>((resolve) => clock.after(LOCKED_STEP_MS, resolve));
          continue;
        }
        this.#unassign(assigned);
        throw error;
      }
    }
  }

  /** Gives the vif to a worker, with what is left of the one that died. */
  #ask(worker: RunningWorker, { place, from }: Assigned, connectedOnly: boolean): Promise<Admission> {
    const { channels, descriptorsOf } = this.#parts;
    const { id } = place;
    const serves = worker.remote.vifs.has(id);
    // Channels of a worker that has ended in order, or that nothing uses.
    if (from === undefined && !serves) channels.forget(id);
    const stored = from === undefined ? undefined : channels.take(id);
    const after = { from: from?.isGone === false ? from.pid : undefined, channels: stored };
    const asked = worker.remote.found(place, connectedOnly, descriptorsOf(id), after);
    // The message has a duplicate.
    if (stored !== undefined) closeSync(stored.descriptor);
    return asked;
  }

  /** Has the vifs of a worker that died served again. */
  async #takeOver(vifs: readonly Assigned[], from: RunningWorker, noticedMs: number): Promise<void> {
    const { clock, log, fleet, onUnserved } = this.#parts;
    const taken = new Map<RunningWorker, VifId[]>();
    let endMs = noticedMs;
    const serve = async (assigned: Assigned) => {
      const { place } = assigned;
      const admission = await this.#serve(assigned, false).catch(() => undefined);
      const worker = this.workerOf(place.id);
      if (admission === 'served' && worker !== undefined) {
        taken.set(worker, [...(taken.get(worker) ?? []), place.id]);
        // Frames move since then. The rest of the worker's look at the vif takes longer, and for a guest that is not connected it is all.
        endMs = Math.max(endMs, assigned.attachedMs ?? clock.now());
      } else if (!this.#parking.isParked(place.id) && !this.#ended) {
        // The discovery serves it, or reports why it cannot be served, and tries again.
        onUnserved(place, admission === 'none');
      }
    };
    await Promise.all(vifs.map(serve));
    const gapMs = endMs - noticedMs;
    for (const [worker, ids] of taken) log.tookOver({ pid: worker.pid, from: from.pid, vifs: ids, gapMs });
    fleet.replenish();
  }

  /** Narrows down which vif of a slot kills its workers: divides the slot, or parks its only vif. */
  #suspect(slot: Slot): void {
    const [first, ...others] = [...slot.vifs].map((id) => this.#vifs.get(id) as Assigned);
    if (others.length === 0) {
      this.#unassign(first);
      this.#parking.park(first.place);
      return;
    }
    const half = this.#newSlot(slot.guest, slot.after);
    half.tryOut();
    slot.tryOut();
    for (const assigned of others.slice(Math.floor(others.length / 2))) {
      slot.vifs.delete(assigned.place.id);
      half.vifs.add(assigned.place.id);
      assigned.slot = half;
    }
  }

  /** Call it when a suspected vif has ended while no worker served it: then none has removed its tap and its journals. */
  #forgetSuspected(place: VifPlace): void {
    if (!this.#parking.isSuspected(place.id)) return;
    this.#parking.forget(place.id);
    this.#parts.onUnserved(place, true);
  }

  #assign(place: VifPlace): Assigned {
    const suspected = this.#parking.isSuspected(place.id);
    const slot = suspected ? this.#newSlot(place.domid) : this.#slotFor(place);
    if (suspected) slot.tryOut();
    const assigned: Assigned = { place, slot, served: false, attachedMs: undefined, from: undefined };
    slot.vifs.add(place.id);
    this.#vifs.set(place.id, assigned);
    return assigned;
  }

  /** Forgets that a vif is served. A worker without vifs goes back to the fleet, or ends. */
  #unassign(assigned: Assigned): void {
    const { place, slot } = assigned;
    if (this.#vifs.get(place.id) === assigned) {
      this.#vifs.delete(place.id);
      this.#parts.channels.forget(place.id);
    }
    slot.vifs.delete(place.id);
    if (slot.vifs.size > 0) return;
    this.#remove(slot);
  }

  #remove(slot: Slot): void {
    this.#slots.delete(slot);
    slot.end();
    const { worker, guest } = slot;
    if (worker === undefined || this.#ended) return;
    // With a process for each guest, none serves a guest after another one, which may have taken control of it.
    if (guest === undefined) this.#parts.fleet.giveBack(worker);
    else void this.#parts.fleet.dismiss(worker);
  }

  /** Returns the slot that is to serve a vif: a new one while there are too few, else the one with the fewest vifs, then the least load. */
  #slotFor({ domid }: VifPlace): Slot {
    const { workers } = this.#parts;
    const sound = [...this.#slots].filter((slot) => !slot.onTrial);
    if (workers === 'per-guest') return sound.find((slot) => slot.guest === domid) ?? this.#newSlot(domid);
    if (sound.length < workers) return this.#newSlot(undefined);
    const load = (slot: Slot) => slot.worker?.load ?? 0;
    return sound.reduce((best, slot) => {
      const more = slot.vifs.size - best.vifs.size || load(slot) - load(best);
      return more < 0 ? slot : best;
    });
  }

  #newSlot(
    domid: number | undefined,
    after: Promise<unknown> = Promise.resolve(),
    worker?: RunningWorker,
  ): Slot {
    const { clock, fleet, workers } = this.#parts;
    const guest = workers === 'per-guest' ? domid : undefined;
    const onSound = (slot: Slot) => {
      for (const id of slot.vifs) this.#parking.clear(id);
    };
    const counted = this.#parts.oomKills ?? oomKills;
    const slot = new Slot({ clock, fleet, guest, after, oomKills: counted, onSound }, worker);
    this.#slots.add(slot);
    return slot;
  }
}
