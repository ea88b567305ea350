/** What the queue needs to know of a watch. */
export interface Watched {
  /** The path that was asked for: what an event falls back to when there are too many to tell apart. */
  readonly path: string;
}

interface Entry<W> {
  readonly watch: W;
  readonly path: string;
}

/** Far more distinct paths than a vif has nodes; a guest that writes more than this gets one event for all. */
export const EVENTS_PER_WATCH_MAX = 256;

/**
 * Watch events that wait for delivery, oldest first. A guest can fire them faster than anybody reads them,
 * and an unbounded queue was XSA-349 (CVE-2020-29568). Hence an event that already waits is not queued again,
 * and a watch with too many waiting keeps one: its own path, "something changed at or below".
 * Watches may fire spuriously (docs/misc/xenstore.txt), so nobody may read more into an event than that.
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

  /** Delivers the oldest event, if there is one. It is off the queue before the call: a throw loses nothing else. */
  deliverOne(): void {
    const [entry] = this.#entries;
    if (entry === undefined) return;
    this.#remove(entry);
    this.#deliver(entry.watch, entry.path);
  }

  /** Drops what waits for a watch. */
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
