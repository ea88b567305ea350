import { type ChildProcess, spawn } from 'node:child_process';
import type { PayloadMode } from '../../lib/netback/types.js';
import { type Done, must, run, until } from './process.js';

export interface VifdEvent {
  readonly event: string;
  readonly timeMs: number;
  readonly vif?: string;
  readonly resumed?: boolean;
  readonly message?: string;
}

/** The builds that lives alternate between: what updating looks like to a guest. */
const BUILDS = ['/run/vifd-a', '/run/vifd-b'] as const;

/** A vifd of dom0: started, stopped, killed and updated; its events are kept over its lives. */
export class Vifd {
  readonly events: VifdEvent[] = [];
  /** The payload mode of lives from now on. */
  payload: PayloadMode = 'copy';
  #child: ChildProcess | undefined;
  #build = 0;
  #from = 0;
  readonly #builds: readonly string[];

  constructor(builds: readonly string[] = BUILDS) {
    this.#builds = builds;
  }

  get running(): boolean {
    return this.#child !== undefined;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** The vifs that this life has attached. */
  get served(): ReadonlySet<string> {
    const served = new Set<string>();
    for (const { event, vif } of this.events.slice(this.#from)) {
      if (event === 'attached') served.add(vif ?? '');
      if (event === 'detached') served.delete(vif ?? '');
    }
    return served;
  }

  /** Resolves when it serves all that waited. */
  async start(...options: string[]): Promise<void> {
    const from = this.events.length;
    this.#from = from;
    const args = ['run', '--json', '--payload', this.payload, ...options];
    const child = spawn(process.execPath, [this.program, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
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

  get program(): string {
    return `${this.#builds[this.#build % this.#builds.length]}/dist/vifd.cjs`;
  }

  /** Runs one of the other verbs to its end. */
  verb(...args: string[]): Promise<Done> {
    return run(process.execPath, this.program, ...args);
  }

  /** The next life is the other build's. */
  update(): void {
    this.#build += 1;
  }

  errors(): string[] {
    return this.events.filter(({ event }) => event === 'error').map(({ message }) => message ?? '?');
  }
}

/** Two copies of what is tested, in memory: reading modules over 9p costs seconds a start. */
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
