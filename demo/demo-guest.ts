import type { BridgedWorld } from '../worlds/processes/bridged-world.js';
import { type Child, enter } from '../worlds/processes/children.js';
import { GUEST_DEVICE, ipInside, startGuest } from '../worlds/processes/guest-process.js';
import { promised, within } from '../worlds/processes/wait.js';
import { WorldError } from '../worlds/world-error.js';
import type { Recorder } from './recorder.js';
import type { Place } from './streams.js';

export interface GuestParts {
  readonly machine: BridgedWorld;
  readonly recorder: Recorder;
  readonly domid: number;
  readonly name: string;
  readonly address: string;
  readonly mac: string;
  readonly signal: AbortSignal;
  readonly fail: (error: WorldError) => void;
}

/** A guest: a network namespace, and a process in it that is its netfront. */
export class Guest implements AsyncDisposable {
  readonly #parts: GuestParts;
  readonly #connected = promised();
  #process: Child | undefined;
  #ending = false;

  constructor(parts: GuestParts) {
    this.#parts = parts;
  }

  get place(): Place {
    const { name, address } = this.#parts;
    return { name, address, enter: enter(this.#process?.pid ?? 0) };
  }

  /** Resolves when the process runs; the backend need not run yet. */
  async start(): Promise<void> {
    const { machine, domid, name, mac, fail } = this.#parts;
    const process_ = await startGuest({
      ...{ name, domid, mac, program: machine.programIn(domid) },
      onEvent: (event) => this.#hear(event),
    });
    this.#process = process_;
    process_.ended.then((how) => {
      if (!this.#ending) fail(new WorldError(`${name} ended by itself (${how}): ${process_.lastWords}`));
    });
  }

  /** Resolves when its interface is up. */
  async ready(): Promise<void> {
    const { name, address, signal } = this.#parts;
    await within(this.#connected.done, { what: `connecting ${name}`, signal });
    const guest = this.#process;
    if (guest === undefined) throw new WorldError(`${name} was not started`);
    await ipInside(guest, 'link', 'set', 'lo', 'up');
    await ipInside(guest, 'address', 'add', `${address}/24`, 'dev', GUEST_DEVICE);
    await ipInside(guest, 'link', 'set', GUEST_DEVICE, 'up');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending = true;
    await this.#process?.end('SIGKILL');
  }

  #hear(event: Record<string, unknown>): void {
    if (event.event === 'connected') this.#connected.keep();
    if (event.event !== 'violation') return;
    const { recorder, name } = this.#parts;
    recorder.violation(`${name}: ${event.kind} in slot ${event.slot} ${event.ring}: ${event.detail}`);
  }
}
