/** The part of a watch that the queue uses. */
export interface Watched {
  /** The watched path. It replaces the paths of a watch's events when too many of them wait. */
  readonly path: string;
}

interface Entry<W> {
  readonly watch: W;
  readonly path: string;
}

/** The most events of a watch that wait. A vif has far fewer nodes; if a guest writes more paths, one event replaces all. */
export const EVENTS_PER_WATCH_MAX = 256;

/**
 * Watch events that wait for delivery, oldest first. A guest can cause events faster than vifd reads them,
 * and an unbounded queue was XSA-349 (CVE-2020-29568). The queue therefore ignores an event that waits already,
 * and replaces the events of a watch with too many by one for the watched path, "something changed at or below".
 * Watches may fire spuriously (docs/misc/xenstore.txt), so a handler must not read more into an event.
 */
export class EventQueue<W extends Watched> {
  readonly #deliver: (watch: W, path: string) => void;
  readonly #perWatchMax: number;
  /** Insertion order is delivery order. */
  readonly #entries = new Set<Entry<W>>();
  readonly #byWatch = new Map<W, Map<string, Entry<W>>>();

  constructor(deliver: (watch: W, path: string) => void, perWatchMax = EVENTS_PER_WATCH_MAX) {
    this.#deliver = deliver;
    this.#perWatchMax = perWatchMax;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** @returns false when the event was already waiting. */
  push(watch: W, path: string): boolean {
    const waiting = this.#byWatch.get(watch) ?? new Map<string, Entry<W>>();
    if (waiting.has(path)) return false;
    if (waiting.size >= this.#perWatchMax) {
      this.forget(watch);
      return this.push(watch, watch.path);
    }
    const entry = { watch, path };
    waiting.set(path, entry);
    this.#byWatch.set(watch, waiting);
    this.#entries.add(entry);
    return true;
  }

  /** Delivers the oldest event, if there is one. The event leaves the queue before the call, so a throw affects no other event. */
  deliverOne(): void {
    const [entry] = this.#entries;
    if (entry === undefined) return;
    this.#remove(entry);
    this.#deliver(entry.watch, entry.path);
  }

  /** Drops the events of a watch. */
  forget(watch: W): void {
    for (const entry of this.#byWatch.get(watch)?.values() ?? []) this.#entries.delete(entry);
    this.#byWatch.delete(watch);
  }

  #remove(entry: Entry<W>): void {
    this.#entries.delete(entry);
    const waiting = this.#byWatch.get(entry.watch);
    waiting?.delete(entry.path);
    if (waiting?.size === 0) this.#byWatch.delete(entry.watch);
  }
}
