import { readFileSync } from 'node:fs';
import { Child, GUARD, parseEvent } from './children.js';
import { until } from './until.js';

const PATIENT_MS = 20_000;

export type Line = Record<string, unknown> & { readonly event?: string };

export interface SupervisedPlan {
  /** Arguments of node. */
  readonly program: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** A command before the program. */
  readonly wrapper?: readonly string[];
  readonly onLine?: (line: Line) => void;
}

/** A `vifd run --workers`, and the lines of it and of its workers. */
export class Supervised {
  readonly lines: Line[];
  readonly #child: Child;

  /** @param plan `onLine` is called with each line. */
  static async start({ program, env, wrapper = [], onLine }: SupervisedPlan): Promise<Supervised> {
    const lines: Line[] = [];
    const child = await Child.start({
      name: 'vifd',
      command: [...GUARD, ...wrapper, process.execPath, ...program],
      env,
      onLine: (text) => {
        const line = (parseEvent(text) ?? { line: text }) as Line;
        lines.push(line);
        onLine?.(line);
      },
    });
    return new Supervised(child, lines);
  }

  private constructor(child: Child, lines: Line[]) {
    this.#child = child;
    this.lines = lines;
  }

  get pid(): number {
    return this.#child.pid;
  }

  get running(): boolean {
    return this.#child.running;
  }

  /** Resolves when it and all its workers have closed stdout and stderr. */
  get ended(): Promise<string> {
    return this.#child.ended;
  }

  get lastWords(): string {
    return this.#child.lastWords;
  }

  of(event: string): Line[] {
    return this.lines.filter((line) => line.event === event);
  }

  /** Resolves with the events of this name when there are so many. */
  async until(event: string, count = 1, withinMs = PATIENT_MS): Promise<Line[]> {
    if (!(await until(() => this.of(event).length >= count, withinMs)))
      throw new Error(
        `no ${count} ${event} within ${withinMs} ms: ${JSON.stringify(this.lines)} ${this.lastWords}`,
      );
    return this.of(event);
  }

  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    await this.#child.end(signal);
  }
}

/** Whether a process is a worker that runs. @param runtime Default: in any runtime directory. */
export function isWorker(pid: number, runtime = ''): boolean {
  try {
    // Empty for a zombie.
    const words = readFileSync(`/proc/${pid}/cmdline`, 'latin1');
    return words.includes('\0worker\0') && words.includes(runtime);
  } catch {
    // It is gone.
    return false;
  }
}
