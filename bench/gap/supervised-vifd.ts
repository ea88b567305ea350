import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BRIDGE } from '../../worlds/processes/bridged-world.js';
import type { ProcessWorld } from '../../worlds/processes/process-world.js';
import { isWorker, type Line, Supervised } from '../../worlds/processes/supervised.js';
import { until } from '../../worlds/processes/until.js';

const FAULTY_PROGRAM = fileURLToPath(new URL('faulty.cjs', import.meta.url));
const PATIENT_MS = 20_000;

/** A take-over, as the supervisor logged it, and when the line came. */
export interface Taken {
  readonly pid: number;
  /** From the supervisor's notice of the death. */
  readonly gapMs: number;
  readonly atMs: number;
}

interface Heard {
  readonly line: Line;
  readonly atMs: number;
}

/** A `vifd run --workers 1`, whose worker dies again and again: it has a standby each time. */
export class SupervisedVifd implements AsyncDisposable {
  readonly #world: ProcessWorld;
  readonly #options: readonly string[];
  #vifd: Supervised | undefined;
  #workers: number[] = [];
  #pid = 0;
  #standbys = 0;
  /** The take-overs. */
  readonly #heard: Heard[] = [];
  /** Suspicious deaths since the supervisor has started. */
  suspicious = 0;

  constructor(world: ProcessWorld, options: readonly string[]) {
    this.#world = world;
    this.#options = options;
  }

  /** The file with the fault that a worker is to show next. */
  get faultFile(): string {
    return join(this.#world.directory, 'fault');
  }

  /** The worker that serves. */
  get pid(): number {
    return this.#pid;
  }

  /** Starts the supervisor. Resolves when there is a standby. */
  async start(): Promise<void> {
    const options = ['--workers', '1', '--json', '--bridge', BRIDGE.name, ...this.#options];
    this.#standbys = 0;
    this.suspicious = 0;
    this.#vifd = await Supervised.start({
      program: this.#world.vifdRun(options),
      env: {
        ...this.#world.environment(0),
        NODE_OPTIONS: `--require ${FAULTY_PROGRAM}`,
        VIFD_BENCH_FAULT: this.faultFile,
      },
      onLine: (line) => this.#hear(line),
    });
    await this.hasStandby(1);
  }

  async stop(): Promise<void> {
    await this.#vifd?.end('SIGTERM');
  }

  /** Has another supervisor. */
  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  get standbys(): number {
    return this.#standbys;
  }

  /** Resolves when so many standbys have started. */
  async hasStandby(count: number): Promise<void> {
    await this.#until(() => this.#standbys >= count, `a standby (number ${count})`);
  }

  /** Resolves with the next take-over that serves so many vifs, from the `from`th on. */
  async takeOver(from: number, vifs: number): Promise<Taken> {
    let served = 0;
    await this.#until(() => {
      const lines = this.#heard.slice(from);
      served = lines.reduce((sum, { line }) => sum + (line.vifs as unknown[]).length, 0);
      return served >= vifs;
    }, `a take-over of ${vifs} vifs`);
    const { line, atMs } = this.#heard.at(-1) as Heard;
    this.#pid = Number(line.pid);
    return { pid: this.#pid, gapMs: Number(line.gapMs), atMs };
  }

  /** How many take-overs there were. */
  get takeOvers(): number {
    return this.#heard.length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    for (const pid of this.#workers.filter((pid) => isWorker(pid))) process.kill(pid, 'SIGKILL');
  }

  #hear(line: Line): void {
    if (line.event === 'took-over') this.#heard.push({ line, atMs: performance.now() });
    if (line.event !== 'worker-started') return;
    this.#workers = [...this.#workers.filter((pid) => isWorker(pid)), Number(line.pid)];
    if (line.standby === true) this.#standbys += 1;
    else if (this.#standbys === 0) this.#pid = Number(line.pid);
  }

  async #until(holds: () => boolean, what: string): Promise<void> {
    if (await until(holds, PATIENT_MS)) return;
    const lines = this.#vifd?.lines.slice(-8).map((line) => JSON.stringify(line));
    throw new Error(
      `vifd did not have ${what} within ${PATIENT_MS / 1000} s: ${lines?.join('\n')} ${this.#vifd?.lastWords}`,
    );
  }
}
