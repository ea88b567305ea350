import { Child, GUARD } from './children.js';
import { until } from './until.js';

/** A line of vifd's stderr. */
export interface LogLine {
  readonly atMs: number;
  readonly text: string;
}

export interface DaemonPlan {
  /** Arguments of node: the program and its own. */
  readonly program: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** Called with each line of stderr. */
  readonly onLine?: (line: LogLine) => void;
  /** Called with each line of stdout, which `--json` writes to. */
  readonly onOutput?: (text: string) => void;
  /** A command before the program, e.g. a wrapper in sh. */
  readonly wrapper?: readonly string[];
}

const READY_MS = 20_000;
const END_MS = 5000;

/** One process of `vifd run`. */
export class Daemon {
  readonly lines: LogLine[] = [];
  readonly #child: Child;

  static async start({ program, env, onLine, onOutput, wrapper = [] }: DaemonPlan): Promise<Daemon> {
    const lines: LogLine[] = [];
    const child = await Child.start({
      name: 'vifd',
      command: [...GUARD, ...wrapper, process.execPath, ...program],
      env,
      onErrorLine: (text) => {
        const line = { atMs: Date.now(), text };
        lines.push(line);
        onLine?.(line);
      },
      ...(onOutput && { onLine: onOutput }),
    });
    return new Daemon(child, lines);
  }

  private constructor(child: Child, lines: LogLine[]) {
    this.#child = child;
    this.lines = lines;
  }

  get pid(): number {
    return this.#child.pid;
  }

  get running(): boolean {
    return this.#child.running;
  }

  get ended(): Promise<string> {
    return this.#child.ended;
  }

  /** The last lines of its stderr, as a sentence. */
  get lastWords(): string {
    return this.#child.lastWords;
  }

  /** Resolves when vifd has read all vifs once. */
  async ready(): Promise<void> {
    const reported = () => this.lines.some(({ text }) => /serving \d+ vifs?/.test(text));
    if (!(await until(() => reported() || !this.running, READY_MS)) || !reported())
      throw new Error(`vifd did not start: ${this.lastWords}`);
  }

  signal(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal);
  }

  /** Sends SIGTERM; kills a process that does not end by itself. */
  async stop(): Promise<void> {
    if (!this.running) return;
    this.signal('SIGTERM');
    if (!(await until(() => !this.running, END_MS))) await this.kill();
  }

  async kill(): Promise<void> {
    await this.end('SIGKILL');
  }

  /** Resolves when its process is gone. */
  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    await this.#child.end(signal);
  }
}
