import { AtMost } from '../../at-most.js';
import { backendVifRoot } from '../../protocol/xenbus.js';
import type { Clock, Store } from '../../xen/seam.js';
import type { VifAddress, VifId } from '../vif-info.js';
import { isRemoved } from './removed-node.js';

/** The address and path of a vif's node, whether or not it is there. */
export interface VifPlace extends VifAddress {
  readonly path: string;
}

/** The vifs that a changed path concerns: one; all of a guest; undefined: all. */
export type Named = VifPlace | Pick<VifAddress, 'domid'> | undefined;

/**
 * What `admit` did. served: this process serves the vif, now or before. refused: not accepted, or it failed and is retried. waiting: no
 * earlier process served the vif, so it comes after those whose guests wait. none: there is no vif, or not yet.
 */
export type Admission = 'served' | 'refused' | 'waiting' | 'none';

export interface DirectoryParts {
  readonly store: Store;
  readonly domid: number;
  readonly clock: Clock;
  /**
   * Serves the vif at a place, if there is one. Never rejects.
   * @param connectedOnly leaves alone a vif that is not Connected, and returns 'waiting' for it.
   * @param changed tells whether the node changed since this call.
   */
  readonly admit: (place: VifPlace, connectedOnly: boolean, changed: () => boolean) => Promise<Admission>;
}

/**
 * How many guests are read at a time. xenstored responds in order: if all were asked for at once, none would be served before the first
 * responses of all the others.
 */
const AT_ONCE = 16;
/** A vif that takes longer, as one whose port is slow to open, lets the next begin. */
const TURN_MS = 50;

interface Admitting {
  connectedOnly: boolean;
  /** The node changed during the look. */
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

  /** @returns what a changed path concerns; 'nothing' for a path at, above or below which there can be no vif. */
  named(changed: string): Named | 'nothing' {
    if (!changed.startsWith(`${this.root}/`)) return undefined;
    const [guest, handle] = changed.slice(this.root.length + 1).split('/');
    if (guest === undefined || !isNumber(guest)) return 'nothing';
    if (handle === undefined) return { domid: Number(guest) };
    return isNumber(handle) ? this.placeOf({ domid: Number(guest), handle: Number(handle) }) : 'nothing';
  }

  /**
   * Looks at all vifs of this domain. Those that an earlier process served have their turns first.
   * @returns those that there are. @throws VifdError when the store cannot be read.
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
    // What fails or hangs with one guest keeps no other guest waiting.
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

  /** Calls for one place that overlap lead to one more look, in the same turn: a toolstack writes a node key by key. */
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
      // At once after the last look: a later call must not join a run that will not look again.
      this.#admitting.delete(place.id);
      return admission;
    }
  }

  /** Runs `work` as one of AT_ONCE. @returns what it returns. */
  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    return (await this.#turn(work)).done;
  }

  /** Begins `work` when it is its turn. Resolves when the turn ends: with the work, or after TURN_MS. */
  #turn<T>(work: () => Promise<T>): Promise<{ readonly done: Promise<T> }> {
    return this.#turns.run(async () => {
      const done = work();
      let timer: Disposable | undefined;
      const late = new Promise<void>((resolve) => {
        timer = this.#parts.clock.after(TURN_MS, resolve);
      });
      // The caller, who awaits the work itself, gets its error.
      const ended = done.then(nothing, nothing);
      await Promise.race([ended, late]);
      timer?.[Symbol.dispose]();
      return { done };
    });
  }
}

function nothing(): void {}

/** A node's name that is a domain's or a device's number, as toolstacks write it. */
function isNumber(name: string): boolean {
  return /^(0|[1-9][0-9]{0,8})$/.test(name);
}
