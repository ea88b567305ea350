import { AtMost } from '../../at-most.js';
import { backendVifRoot } from '../../protocol/xenbus.js';
import { waitAtMost } from '../../wait-at-most.js';
import type { Clock, Store } from '../../xen/seam.js';
import type { VifAddress, VifId } from '../vif-info.js';
import { isRemoved } from './removed-node.js';

/** The address and path of a vif's node, which may or may not exist. */
export interface VifPlace extends VifAddress {
  readonly path: string;
}

/** The vifs that a changed path concerns: one vif, all vifs of a guest, or (undefined) all vifs. */
export type Named = VifPlace | Pick<VifAddress, 'domid'> | undefined;

/**
 * The result of `admit`. served: this process serves the vif, since now or earlier. refused: the vif is not accepted, or it failed and is
 * retried. waiting: no earlier process served the vif, so it comes after those whose guests wait. none: there is no vif (yet).
 */
export type Admission = 'served' | 'refused' | 'waiting' | 'none';

export interface DirectoryParts {
  readonly store: Store;
  readonly domid: number;
  readonly clock: Clock;
  /**
   * Serves the vif at a place, if there is one. Never rejects.
   * @param connectedOnly if true, a vif that is not Connected is not served, and the result is 'waiting'.
   * @param changed returns whether the node changed since this call.
   */
  readonly admit: (place: VifPlace, connectedOnly: boolean, changed: () => boolean) => Promise<Admission>;
}

/**
 * How many guests' nodes are read at a time. xenstored responds in order: if vifd asked for all at once, it could serve no guest before it
 * had the first responses for all others.
 */
const AT_ONCE = 16;
/** The longest turn: if a vif takes longer (its port may be slow to open), the next one begins meanwhile. */
const TURN_MS = 50;

interface Admitting {
  connectedOnly: boolean;
  /** Whether the node changed during the look. */
  again: boolean;
  readonly done: Promise<Admission>;
}

/** Finds the vifs of this domain in the store: all of them, or those that a change names. */
export class Directory {
  readonly root: string;
  readonly #parts: DirectoryParts;
  readonly #turns = new AtMost(AT_ONCE);
  readonly #admitting = new Map<VifId, Admitting>();

  constructor(parts: DirectoryParts) {
    this.#parts = parts;
    this.root = backendVifRoot(parts.domid);
  }

  /** @returns the vifs that a changed path concerns; 'nothing' if there can be no vif at, above or below the path. */
  named(changed: string): Named | 'nothing' {
    if (!changed.startsWith(`${this.root}/`)) return undefined;
    const [guest, handle] = changed.slice(this.root.length + 1).split('/');
    if (guest === undefined || !isNumber(guest)) return 'nothing';
    if (handle === undefined) return { domid: Number(guest) };
    return isNumber(handle) ? this.placeOf({ domid: Number(guest), handle: Number(handle) }) : 'nothing';
  }

  /**
   * Looks at all vifs of this domain. Vifs that an earlier process served have their turns first.
   * @returns the vifs that exist. @throws VifdError if the store cannot be read.
   */
  async look(): Promise<ReadonlySet<VifId>> {
    const guests = (await this.#list(this.root)).filter(isNumber);
    const found: VifPlace[] = [];
    const later: Promise<Admission>[] = [];
    const serveConnected = async (place: VifPlace): Promise<void> => {
      found.push(place);
      const admission = await this.#admit(place, true, (work) => work());
      if (admission === 'waiting') later.push(turnsOver.then(() => this.lookAt(place)));
    };
    // A failure or hang with one guest delays no other guest.
    const turnsOver = Promise.all(
      guests.map((guest) =>
        this.#turn(async () => {
          await Promise.all((await this.#placesOf(Number(guest))).map(serveConnected));
        }),
      ),
    );
    await Promise.all((await turnsOver).map(({ done }) => done));
    await Promise.all(later);
    return new Set(found.map(({ id }) => id));
  }

  lookAt(place: VifPlace): Promise<Admission> {
    return this.#admit(place, false, (work) => this.#inTurn(work));
  }

  async lookIn({ domid }: Pick<VifAddress, 'domid'>): Promise<void> {
    const places = await this.#placesOf(domid);
    await Promise.all(places.map((place) => this.lookAt(place)));
  }

  async #placesOf(domid: number): Promise<VifPlace[]> {
    const handles = await this.#list(`${this.root}/${domid}`);
    return handles.filter(isNumber).map((handle) => this.placeOf({ domid, handle: Number(handle) }));
  }

  async #list(path: string): Promise<string[]> {
    const { store } = this.#parts;
    try {
      return await store.list(path);
    } catch (error) {
      if (await isRemoved(store, path, error)) return [];
      throw error;
    }
  }

  placeOf({ domid, handle }: Pick<VifAddress, 'domid' | 'handle'>): VifPlace {
    return { id: `vif${domid}.${handle}`, domid, handle, path: `${this.root}/${domid}/${handle}` };
  }

  /**
   * Admits the vif at a place. Calls during a look at the same place lead to one more look, in the same turn: toolstacks write a node key
   * by key.
   */
  #admit(
    place: VifPlace,
    connectedOnly: boolean,
    run: (work: () => Promise<Admission>) => Promise<Admission>,
  ): Promise<Admission> {
    const running = this.#admitting.get(place.id);
    if (running !== undefined) {
      running.again = true;
      running.connectedOnly &&= connectedOnly;
      return running.done;
    }
    const begun: Omit<Admitting, 'done'> = { connectedOnly, again: false };
    const done = run(() => this.#admitUntilCalm(place, begun));
    this.#admitting.set(place.id, Object.assign(begun, { done }));
    return done;
  }

  async #admitUntilCalm(place: VifPlace, admitting: Omit<Admitting, 'done'>): Promise<Admission> {
    for (;;) {
      admitting.again = false;
      const admission = await this.#parts.admit(place, admitting.connectedOnly, () => admitting.again);
      if (admitting.again) continue;
      // Deleted right after the last look, because a later call must not join a run that will not look again.
      this.#admitting.delete(place.id);
      return admission;
    }
  }

  /** Runs `work` as one of at most AT_ONCE. @returns the result of `work`. */
  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    return (await this.#turn(work)).done;
  }

  /** Begins `work` when it is its turn. Resolves when the turn ends: when `work` is done, or after TURN_MS. */
  #turn<T>(work: () => Promise<T>): Promise<{ readonly done: Promise<T> }> {
    return this.#turns.run(async () => {
      const done = work();
      // The caller awaits `work` itself and gets its error there.
      await waitAtMost(this.#parts.clock, TURN_MS, done.then(nothing, nothing));
      return { done };
    });
  }
}

function nothing(): void {}

/** Whether a node's name is the number of a domain or device, as toolstacks write it. */
function isNumber(name: string): boolean {
  return /^(0|[1-9][0-9]{0,8})$/.test(name);
}
