import { GUEST_PROGRAM } from '../worlds/places.js';
import { Child, command, enter, GUARD, parseEvent } from '../worlds/processes/children.js';
import type { Machine } from '../worlds/processes/machine.js';
import { promised, within } from '../worlds/processes/wait.js';
import { WorldError } from '../worlds/world-error.js';
import type { Recorder } from './recorder.js';
import type { Place } from './streams.js';

const DEVICE = 'eth0';

export interface GuestParts {
  readonly machine: Machine;
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

  /** Resolves when the process runs; the backend need not be there. */
  async start(): Promise<void> {
    const { machine, domid, name, mac, fail } = this.#parts;
    const { env, options } = machine.programIn(domid);
    const process_ = await Child.start({
      name,
      command: [
        ...['unshare', '--net', '--'],
        ...GUARD,
        process.execPath,
        GUEST_PROGRAM,
        ...['--domid', String(domid), '--tap', DEVICE, '--mac', mac],
        ...options,
      ],
      env,
      onLine: (line) => this.#hear(line),
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
    const ip = [...this.place.enter, 'ip'];
    await command(...ip, 'link', 'set', 'lo', 'up');
    await command(...ip, 'address', 'add', `${address}/24`, 'dev', DEVICE);
    await command(...ip, 'link', 'set', DEVICE, 'up');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending = true;
    await this.#process?.end('SIGKILL');
  }

  #hear(line: string): void {
    const said = parseEvent(line);
    if (said?.event === 'connected') this.#connected.keep();
    if (said?.event !== 'violation') return;
    const { recorder, name } = this.#parts;
    recorder.violation(`${name}: ${said.kind} in slot ${said.slot} ${said.ring}: ${said.detail}`);
  }
}
