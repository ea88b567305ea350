import { readdirSync, readFileSync } from 'node:fs';
import { parseEvent } from './children.js';
import { Daemon, type DaemonPlan } from './daemon.js';
import { until } from './until.js';

const PATIENT_MS = 20_000;

export type Line = Record<string, unknown> & { readonly event?: string };

export interface SupervisedPlan extends Omit<DaemonPlan, 'onLine' | 'onOutput'> {
  /** Called with each line of stdout. */
  readonly onLine?: (line: Line) => void;
}

/** A `vifd run --workers`, and the lines of it and of its workers. */
export class Supervised {
  readonly lines: Line[];
  readonly #daemon: Daemon;

  static async start({ onLine, ...plan }: SupervisedPlan): Promise<Supervised> {
    const lines: Line[] = [];
    const daemon = await Daemon.start({
      ...plan,
      onOutput: (text) => {
        const line = (parseEvent(text) ?? { line: text }) as Line;
        lines.push(line);
        onLine?.(line);
      },
    });
    return new Supervised(daemon, lines);
  }

  private constructor(daemon: Daemon, lines: Line[]) {
    this.#daemon = daemon;
    this.lines = lines;
  }

  get pid(): number {
    return this.#daemon.pid;
  }

  get running(): boolean {
    return this.#daemon.running;
  }

  /** Resolves when it and all its workers have closed stdout and stderr. */
  get ended(): Promise<string> {
    return this.#daemon.ended;
  }

  get lastWords(): string {
    return this.#daemon.lastWords;
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
    await this.#daemon.end(signal);
  }
}

/** Whether a process is a worker that runs. @param runtime Default: in any runtime directory. */
export function isWorker(pid: number, runtime = ''): boolean {
  try {
    // Empty for a zombie.
    const words = readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0');
    return words.includes('worker') && words.some((word) => `${word}/`.startsWith(`${runtime}/`));
  } catch {
    // It is gone.
    return false;
  }
}

/**
 * Kills the workers that a supervisor has left. After a SIGKILL of the supervisor and this, no process serves, as after a SIGKILL of a
 * `vifd run --workers 0`.
 * @param folder in which their runtime directory is.
 */
export async function killWorkers(folder: string): Promise<void> {
  const pids = readdirSync('/proc').map(Number);
  const workers = pids.filter((pid) => pid > 0 && isWorker(pid, folder));
  for (const pid of workers) process.kill(pid, 'SIGKILL');
  if (!(await until(() => workers.every((pid) => !isWorker(pid, folder)), PATIENT_MS)))
    throw new Error(`workers do not end: ${workers}`);
}
