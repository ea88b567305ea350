import { EventQueue } from './events.js';

export interface ClientWatch {
  readonly path: string;
  readonly token: string;
  readonly onChange: (path: string) => void;
  /** Whether the store has registered the watch, so that a new connection must register it again. */
  established: boolean;
}

/** A client's watches, and the events that wait for delivery. */
export class ClientWatches {
  readonly #watches = new Map<string, ClientWatch>();
  readonly #events = new EventQueue<ClientWatch>((watch, path) => watch.onChange(path));
  #lastToken = 0;
  #paused = false;

  /** Adds a watch; from now on its events are delivered. */
  add(path: string, onChange: (path: string) => void): ClientWatch {
    this.#lastToken += 1;
    const watch: ClientWatch = { path, token: `vifd-${this.#lastToken}`, onChange, established: false };
    this.#watches.set(watch.token, watch);
    return watch;
  }

  has(watch: ClientWatch): boolean {
    return this.#watches.has(watch.token);
  }

  get established(): ClientWatch[] {
    return [...this.#watches.values()].filter((watch) => watch.established);
  }

  /** Removes a watch; none of its events is delivered any more. */
  forget(watch: ClientWatch): void {
    this.#watches.delete(watch.token);
    this.#events.forget(watch);
  }

  clear(): void {
    for (const watch of [...this.#watches.values()]) this.forget(watch);
  }

  onEvent(path: string, token: string): void {
    const watch = this.#watches.get(token);
    // The watch was closed while the event was under way.
    if (watch === undefined) return;
    if (this.#events.push(watch, path) && !this.#paused) this.#deliverLater();
  }

  /** Delivers nothing until `release`. */
  hold(): void {
    this.#paused = true;
  }

  release(): void {
    this.#paused = false;
    for (let waiting = this.#events.size; waiting > 0; waiting -= 1) this.#deliverLater();
  }

  /** Delivers after the socket was read, so that equal events of one turn of the event loop merge. */
  #deliverLater(): void {
    setImmediate(() => {
      if (!this.#paused) this.#events.deliverOne();
    });
  }
}
