import { EventQueue } from './events.js';

export interface ClientWatch {
  readonly path: string;
  readonly token: string;
  readonly onChange: (path: string) => void;
  /** The store has it: a new connection must be told of it again. */
  established: boolean;
}

/** A client's watches, and the events that wait for delivery. */
export class ClientWatches {
  readonly #watches = new Map<string, ClientWatch>();
  readonly #events = new EventQueue<ClientWatch>((watch, path) => watch.onChange(path));
  #lastToken = 0;
  #held = false;

  /** From now on events find it. */
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

  /** None of its events is delivered any more. */
  forget(watch: ClientWatch): void {
    this.#watches.delete(watch.token);
    this.#events.forget(watch);
  }

  clear(): void {
    for (const watch of [...this.#watches.values()]) this.forget(watch);
  }

  onEvent(path: string, token: string): void {
    const watch = this.#watches.get(token);
    // Events that were under way when their watch was closed.
    if (watch === undefined) return;
    if (this.#events.push(watch, path) && !this.#held) this.#deliverLater();
  }

  /** Delivers nothing until `release`. */
  hold(): void {
    this.#held = true;
  }

  release(): void {
    this.#held = false;
    for (let waiting = this.#events.size; waiting > 0; waiting -= 1) this.#deliverLater();
  }

  /** Not from within the reading of the socket: what one event loop turn brings can so be merged. */
  #deliverLater(): void {
    setImmediate(() => {
      if (!this.#held) this.#events.deliverOne();
    });
  }
}
