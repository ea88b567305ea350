import { BRIDGE, type BridgedWorld } from '../worlds/processes/bridged-world.js';
import { isWorker, type Line, Supervised } from '../worlds/processes/supervised.js';
import { promised, within } from '../worlds/processes/wait.js';
import { WorldError } from '../worlds/world-error.js';
import type { BackendParts } from './backend.js';
import type { Payload } from './options.js';
import type { Ending } from './recorder.js';

export interface SupervisedParts extends Omit<BackendParts, 'standby' | 'machine'> {
  readonly machine: BridgedWorld;
  readonly workers: number;
}

/** So many deaths are one of the supervisor and else of workers. */
export const SUPERVISOR_EVERY = 11;
const LINES_SHOWN = 20;
/** On a host with far too much to do a take-over has taken more than 15 s. The figures show that; it is no reason to end the run. */
const PATIENT_MS = 60_000;

/** Runs `vifd run --workers`, ends its workers one after the other, and now and then the supervisor. */
export class SupervisedBackend implements AsyncDisposable {
  readonly #parts: SupervisedParts;
  /** The process that serves each vif. */
  readonly #servers = new Map<string, number>();
  #payload: Payload;
  #supervisor: Supervised | undefined;
  #workers: number[] = [];
  /** The workers that it has ended. */
  readonly #ended = new Set<number>();
  #deaths = 0;
  #ending = false;
  /** Who waits for a line. */
  readonly #waiting = new Set<(line: Line) => void>();
  #lastError = '';

  constructor(parts: SupervisedParts) {
    this.#parts = parts;
    this.#payload = parts.payload;
  }

  /** Starts the supervisor. Resolves when workers serve every vif. */
  async start(): Promise<void> {
    const { vifs } = this.#parts;
    await Promise.all([
      this.#until('attaching', () => vifs.every((vif) => this.#servers.has(vif))),
      this.#startSupervisor(),
    ]);
  }

  /** Ends a worker that serves guests, or the supervisor. Resolves when every guest is served, and the supervisor serves new ones. */
  async restart(ending: Ending, payload = this.#payload): Promise<void> {
    // Workers have it that are started from the next supervisor on.
    this.#payload = payload;
    this.#deaths += 1;
    if (this.#deaths % SUPERVISOR_EVERY === 0) return this.#restartSupervisor();
    const pids = [...new Set(this.#servers.values())];
    const victim = pids[Math.floor(Math.random() * pids.length)];
    const waiting = new Set([...this.#servers].filter(([, pid]) => pid === victim).map(([vif]) => vif));
    const taken = this.#until(`taking over from ${victim}`, (line) => {
      if (line.event === 'took-over' && line.from === victim)
        for (const vif of line.vifs as string[]) waiting.delete(vif);
      return waiting.size === 0;
    });
    this.#ended.add(victim);
    process.kill(victim, ending);
    await taken;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending = true;
    await this.#supervisor?.end('SIGKILL');
    for (const pid of this.#workers.filter((pid) => isWorker(pid))) process.kill(pid, 'SIGKILL');
  }

  /** By SIGKILL: after a SIGTERM its workers would end as well. */
  async #restartSupervisor(): Promise<void> {
    this.#ending = true;
    await this.#supervisor?.end('SIGKILL');
    await this.#startSupervisor();
  }

  async #startSupervisor(): Promise<void> {
    const { machine, workers, fail } = this.#parts;
    const options = ['--workers', `${workers}`, '--json', '--bridge', BRIDGE.name];
    this.#ending = false;
    this.#lastError = '';
    const ready = this.#until('being ready', (line) => line.event === 'ready');
    const supervisor = await Supervised.start({
      program: machine.vifdRun([...options, '--payload', this.#payload]),
      env: machine.environment(0),
      onLine: (line) => this.#hear(line),
    });
    this.#supervisor = supervisor;
    void supervisor.ended.then((how) => {
      if (this.#supervisor === supervisor && !this.#ending)
        fail(new WorldError(`the supervisor ended by itself (${how}): ${supervisor.lastWords}`));
    });
    await ready;
  }

  /** Workers of an earlier supervisor write into the same pipe as before, and are heard as well. */
  #hear(line: Line): void {
    const { event, pid, vif, worker } = line;
    if (event === 'worker-started')
      this.#workers = [...this.#workers.filter((pid) => isWorker(pid)), Number(pid)];
    if (event === 'attached') this.#servers.set(String(vif), Number(worker));
    if (event === 'took-over') for (const one of line.vifs as string[]) this.#servers.set(one, Number(pid));
    const diedByItself = event === 'worker-died' && !this.#ended.has(Number(pid));
    if (event === 'error' || event === 'parked' || diedByItself) {
      const message = diedByItself ? `worker ${pid} died: ${line.how}` : String(line.message ?? line.reason);
      this.#lastError = ` (${message})`;
      this.#parts.onComplaint(message, String(line.code));
    }
    for (const see of this.#waiting) see(line);
  }

  /** What vifd did before something took too long. */
  get #lastLines(): string {
    return (this.#supervisor?.lines ?? [])
      .slice(-LINES_SHOWN)
      .map((line) => `\n${JSON.stringify(line)}`)
      .join('');
  }

  /** Resolves when a condition holds, which is looked at with each line. */
  async #until(what: string, holds: (line: Line) => boolean): Promise<void> {
    const held = promised();
    const see = (line: Line) => {
      if (holds(line)) held.keep();
    };
    this.#waiting.add(see);
    try {
      await within(held.done, {
        what: () => `the workers' ${what}${this.#lastError}: ${this.#lastLines}`,
        signal: this.#parts.signal,
        timeoutMs: PATIENT_MS,
      });
    } finally {
      this.#waiting.delete(see);
    }
  }
}
