import { spawn } from 'node:child_process';
import type { PayloadMode } from '../../lib/netback/settings.js';
import { type Done, must, run, until } from './process.js';

export interface VifdEvent {
  readonly event: string;
  readonly timeMs: number;
  readonly vif?: string;
  readonly resumed?: boolean;
  readonly message?: string;
  /** Of a worker, with `from`, the one that died, and `gapMs` if it took vifs over; `standby` if it has started. */
  readonly pid?: number;
  readonly from?: number;
  readonly gapMs?: number;
  readonly standby?: boolean;
}

/** The directory that `vifd run` uses. */
export const RUNTIME = '/run/vifd';

/** The vifd of dom0, which tests start, stop, kill and update. `events` has those of all its processes. */
export abstract class Vifd {
  readonly events: VifdEvent[] = [];
  /** The payload mode of processes from now on. */
  payload: PayloadMode = 'copy';
  /** Where the events of the present process begin. */
  protected from = 0;

  abstract get running(): boolean;
  abstract get pid(): number | undefined;
  /** A command that runs vifd, to which a verb and its arguments are added. */
  abstract get command(): readonly [string, ...string[]];

  /** Resolves when it serves all vifs that waited. */
  abstract start(...options: string[]): Promise<void>;
  /** Resolves when it has ended; no vifd runs until `start`. */
  abstract stop(signal: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  /** SIGKILL, and the next process. Resolves as `start`. */
  async replace(): Promise<void> {
    await this.stop('SIGKILL');
    await this.start();
  }
  /** The next process runs another copy of the build, so that to a guest it looks like an update. */
  abstract update(): void;

  /** The vifs that this process has attached. */
  get served(): ReadonlySet<string> {
    const served = new Set<string>();
    for (const { event, vif } of this.events.slice(this.from)) {
      if (event === 'attached') served.add(vif ?? '');
      if (event === 'detached') served.delete(vif ?? '');
    }
    return served;
  }

  /** Runs one of the other verbs to its end. */
  verb(...args: string[]): Promise<Done> {
    const [program, ...first] = this.command;
    return run(program, ...first, ...args);
  }

  /** All errors that vifd has reported since an event, except those about lack of processor time: on a busy host dom0 as a whole gets none. */
  errors(first = 0): string[] {
    const errors = this.events.slice(first).filter(({ event }) => event === 'error');
    return errors.map(({ message }) => message ?? '?').filter((message) => !NO_PROCESSOR.test(message));
  }
}

/** lib/daemon/run-log.ts. */
const NO_PROCESSOR = /^vifd did not run for \d+ ms/;

type Child = ReturnType<typeof spawn>;

/** The builds that processes alternate between. */
const BUILDS = ['/run/vifd-a', '/run/vifd-b'] as const;

/** A `vifd run` that the tests start themselves, in one process and without a sandbox: for a dom0 without systemd. */
export class PlainVifd extends Vifd {
  #child: Child | undefined;
  #build = 0;

  get running(): boolean {
    return this.#child !== undefined;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get command(): readonly [string, ...string[]] {
    return [process.execPath, `${BUILDS[this.#build % BUILDS.length]}/dist/vifd.cjs`];
  }

  async start(...options: string[]): Promise<void> {
    const from = this.events.length;
    this.from = from;
    const [program, ...first] = this.command;
    const args = [...first, 'run', '--json', '--workers', '0', '--payload', this.payload, ...options];
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#child = child;
    child.on('exit', () => {
      if (this.#child === child) this.#child = undefined;
    });
    let rest = '';
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      this.events.push(...lines.map((line) => JSON.parse(line) as VifdEvent));
    });
    await until('vifd is ready', () => {
      if (this.#child !== child) throw new Error('vifd has ended while it started');
      return this.events.slice(from).some(({ event }) => event === 'ready');
    });
  }

  async stop(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    const ended = new Promise((resolve) => child.once('close', resolve));
    child.kill(signal);
    await ended;
  }

  update(): void {
    this.#build += 1;
  }
}

/** Makes two copies of the tested build, in memory: to read modules over 9p would cost seconds at each start. */
export async function installBuilds(project: string, folders: readonly string[] = BUILDS): Promise<void> {
  for (const to of folders) {
    await must('mkdir', '-p', `${to}/build/Release`, `${to}/node_modules`);
    await must('cp', '-r', `${project}/dist`, `${project}/package.json`, to);
    await must('cp', `${project}/build/Release/vifd.node`, `${to}/build/Release/`);
    const modules = ['bindings', 'commander', 'file-uri-to-path', 'picocolors'];
    await must(
      'cp',
      '-r',
      ...modules.map((name) => `${project}/node_modules/${name}`),
      `${to}/node_modules/`,
    );
  }
}
