import { ancestors } from './paths.js';
import { accessFor, isPrivileged, MAY_READ } from './permissions.js';
import type { Change } from './tree.js';

export interface ModelWatch {
  readonly domid: number;
  /** The path as the client named it, which may be relative: events use the same form. */
  readonly path: string;
  /** The same path, absolute. */
  readonly absolute: string;
  readonly token: string;
  /** Called in the middle of the change: must only record it. */
  fire(path: string): void;
}

/** All watches of a store, by path. They fire in the order in which they were made. */
export class WatchTable {
  readonly #byPath = new Map<string, Set<ModelWatch>>();
  readonly #order = new Map<ModelWatch, number>();
  readonly #perDomain = new Map<number, number>();
  #made = 0;

  count(domid: number): number {
    return this.#perDomain.get(domid) ?? 0;
  }

  add(watch: ModelWatch): void {
    const there = this.#byPath.get(watch.absolute) ?? new Set();
    this.#byPath.set(watch.absolute, there.add(watch));
    this.#made += 1;
    this.#order.set(watch, this.#made);
    this.#perDomain.set(watch.domid, this.count(watch.domid) + 1);
  }

  remove(watch: ModelWatch): void {
    if (!this.#order.delete(watch)) return;
    const there = this.#byPath.get(watch.absolute);
    there?.delete(watch);
    if (there?.size === 0) this.#byPath.delete(watch.absolute);
    this.#perDomain.set(watch.domid, this.count(watch.domid) - 1);
  }

  /** Fires the watches at or above the path whose domain may learn of the change. */
  fire(change: Change): void {
    const places = change.exact ? [change.path] : [...ancestors(change.path)];
    for (const watch of this.#at(places)) {
      const visible = change.visibility.some((permissions) => accessFor(watch.domid, permissions) & MAY_READ);
      if (visible) watch.fire(eventPath(watch, change.path));
    }
  }

  /** Fires `@introduceDomain` and `@releaseDomain`, for dom0 only. (xenstored has permissions for them; the model has none.) */
  fireSpecial(name: string): void {
    for (const watch of this.#at([name])) {
      if (isPrivileged(watch.domid)) watch.fire(name);
    }
  }

  #at(places: readonly string[]): ModelWatch[] {
    const found = places.flatMap((place) => [...(this.#byPath.get(place) ?? [])]);
    return found.sort((a, b) => this.#order.get(a)! - this.#order.get(b)!);
  }
}

function eventPath(watch: ModelWatch, path: string): string {
  if (watch.path === watch.absolute) return path;
  return path.slice(watch.absolute.length - watch.path.length);
}
