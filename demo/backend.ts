import { BACKEND_PROGRAM } from '../worlds/places.js';
import { BRIDGE, type BridgedWorld } from '../worlds/processes/bridged-world.js';
import { Child, GUARD, parseEvent } from '../worlds/processes/children.js';
import { promised, within } from '../worlds/processes/wait.js';
import { WorldError } from '../worlds/world-error.js';
import type { Payload } from './options.js';
import { STANDBY_PROGRAM } from './programs.js';
import type { Ending } from './recorder.js';

export interface BackendParts {
  readonly machine: BridgedWorld;
  readonly payload: Payload;
  readonly standby: boolean;
  /** Vifs that each process has to attach to. */
  readonly vifs: readonly string[];
  readonly signal: AbortSignal;
  /** The backend reports an error. `code` is one of VifdErrorCode. */
  readonly onComplaint: (message: string, code: string) => void;
  /** The backend ended before the demo asked it to. */
  readonly fail: (error: WorldError) => void;
}

/** Runs `vifd run`, one process after the other. */
export class Backend implements AsyncDisposable {
  readonly #parts: BackendParts;
  #payload: Payload;
  #running: Child | undefined;
  /** The process that is loaded and waits to be started. */
  #spare: Child | undefined;
  #ending = false;
  #onAttached: (vif: string) => void = () => undefined;
  /** The last error that this process reported, for a message. */
  #lastError = '';

  constructor(parts: BackendParts) {
    this.#parts = parts;
    this.#payload = parts.payload;
  }

  /** Starts a process. Resolves when it serves every vif. */
  async start(): Promise<void> {
    const attached = promised();
    const waiting = new Set(this.#parts.vifs);
    this.#ending = false;
    this.#lastError = '';
    this.#onAttached = (vif) => {
      waiting.delete(vif);
      if (waiting.size === 0) attached.keep();
    };
    const spare = this.#spare;
    this.#spare = undefined;
    const child = spare ?? (await this.#load());
    this.#running = child;
    if (this.#parts.standby) child.send({ go: true });
    child.ended.then((how) => {
      if (this.#running !== child || this.#ending) return;
      this.#parts.fail(new WorldError(`the backend ended by itself (${how}): ${child.lastWords}`));
    });
    await within(attached.done, {
      what: () => `the backend's attaching${this.#lastError}`,
      signal: this.#parts.signal,
    });
    if (this.#parts.standby) this.#spare = await this.#load();
  }

  async restart(ending: Ending, payload = this.#payload): Promise<void> {
    this.#payload = payload;
    this.#ending = true;
    await this.#running?.end(ending);
    await this.start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending = true;
    await this.#running?.end('SIGKILL');
    await this.#spare?.end('SIGKILL');
  }

  #load(): Promise<Child> {
    const { machine, standby } = this.#parts;
    const options = ['--json', '--bridge', BRIDGE.name, '--payload', this.#payload];
    const program = standby ? STANDBY_PROGRAM : BACKEND_PROGRAM;
    return Child.start({
      name: 'the backend',
      command: [...GUARD, process.execPath, ...machine.vifdRun(options, 0, program)],
      env: machine.environment(0),
      onLine: (line) => {
        const vif = this.#follow(line);
        if (vif !== undefined) this.#onAttached(vif);
      },
      ...(standby ? { onMessage: () => undefined } : {}),
    });
  }

  /** @returns the vif that was attached, if the line reports that. */
  #follow(line: string): string | undefined {
    const event = parseEvent(line);
    if (event?.event === 'error') {
      this.#lastError = ` (${event.message})`;
      this.#parts.onComplaint(String(event.message), String(event.code));
    }
    return event?.event === 'attached' ? String(event.vif) : undefined;
  }
}
