import { fileURLToPath } from 'node:url';
import { Child, GUARD } from '../../worlds/processes/children.js';
import { promised } from '../../worlds/processes/wait.js';
import type { Refusal, StoreCommand, StoredNode, StoreState } from './store-messages.js';

const PROGRAM = fileURLToPath(new URL('store-program.js', import.meta.url));

export interface XenstoredParts {
  readonly vifdSocket: string;
  readonly toolsSocket: string;
  /** Socket of each guest, by domid. */
  readonly guests: ReadonlyMap<number, string>;
}

/** Runs one process of xenstored after the other, at the same sockets. */
export class Xenstored implements AsyncDisposable {
  readonly #parts: XenstoredParts;
  readonly #waiting = new Map<number, (result: unknown) => void>();
  #child: Child | undefined;
  #lastId = 0;

  constructor(parts: XenstoredParts) {
    this.#parts = parts;
  }

  /**
   * @param nodes the initial content; empty by default.
   * @param guests false: guests can connect only after `letGuestsIn`. Until then their store is away.
   * @param refusal as for `refuse`, from the first request on.
   */
  async start(nodes: readonly StoredNode[] = [], guests = true, refusal?: Refusal): Promise<void> {
    const { vifdSocket, toolsSocket, guests: theirs } = this.#parts;
    const ready = promised();
    const sockets = [...theirs].map(([domid, path]) => `${path}=${domid}`);
    this.#child = await Child.start({
      name: 'xenstored',
      command: [...GUARD, process.execPath, PROGRAM, vifdSocket, toolsSocket, ...sockets],
      onMessage: (message) => {
        const { id, result, ready: isReady } = message as { id?: number; result?: unknown; ready?: true };
        if (isReady) ready.keep();
        if (id === undefined) return;
        this.#waiting.get(id)?.(result);
        this.#waiting.delete(id);
      },
    });
    await ready.done;
    await this.#ask({ do: 'load', nodes });
    if (refusal !== undefined) await this.refuse(refusal);
    await this.#ask({ do: 'listen', at: 'host' });
    if (guests) await this.letGuestsIn();
  }

  async letGuestsIn(): Promise<void> {
    await this.#ask({ do: 'listen', at: 'guests' });
  }

  /** Returns all nodes. */
  state(): Promise<StoreState> {
    return this.#ask({ do: 'state' }) as Promise<StoreState>;
  }

  /** Writes nodes again as they were; watches fire. */
  async write(nodes: readonly StoredNode[]): Promise<void> {
    await this.#ask({ do: 'load', nodes });
  }

  /** Refuses requests of vifd alone; undefined ends that. */
  async refuse(refusal: Refusal | undefined): Promise<void> {
    await this.#ask({ do: 'refuse', refusal });
  }

  async kill(): Promise<void> {
    await this.#child?.end('SIGKILL');
  }

  /** SIGSTOP: it accepts connections and replies to nothing. */
  pause(): void {
    process.kill(this.#child?.pid ?? 0, 'SIGSTOP');
  }

  resume(): void {
    process.kill(this.#child?.pid ?? 0, 'SIGCONT');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  #ask(command: StoreCommand): Promise<unknown> {
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#child?.send({ id, ...command });
    });
  }
}
