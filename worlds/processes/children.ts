import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { WorldError } from '../world-error.js';

const run = promisify(execFile);
const STDERR_LINES = 20;

/**
 * Stands before every command: the kernel ends the child when this process ends in any way. It stands behind `unshare` and `nsenter`, because
 * a change of credentials clears the setting.
 */
export const GUARD: readonly string[] = ['setpriv', '--pdeathsig', 'KILL', '--'];

/** A command that runs another command in the network namespace of a process. */
export function enter(pid: number): readonly string[] {
  return ['nsenter', '--target', String(pid), '--net', '--'];
}

export interface ChildOptions {
  /** Its name in messages. */
  readonly name: string;
  readonly command: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** Called with each line of stdout. */
  readonly onLine?: (line: string) => unknown;
  /** Called with each line of stderr. */
  readonly onErrorLine?: (line: string) => unknown;
  /** Called with each message of a Node child over IPC. */
  readonly onMessage?: (message: unknown) => void;
}

/** A child process: it ends with this process, and only this process ends it. */
export class Child {
  readonly name: string;
  /** Resolves when it has ended and its output is read, with how it ended. */
  readonly ended: Promise<string>;
  readonly #process: ChildProcess;
  readonly #stderr: string[] = [];

  /** @throws WorldError when it cannot be started. */
  static async start(options: ChildOptions): Promise<Child> {
    const child = new Child(options);
    try {
      await once(child.#process, 'spawn');
    } catch (error) {
      throw new WorldError(
        `${options.name} cannot be started: ${error instanceof Error ? error.message : error}`,
      );
    }
    return child;
  }

  private constructor(options: ChildOptions) {
    const [program = '', ...args] = options.command;
    this.name = options.name;
    this.#process = spawn(program, args, {
      env: childEnvironment(options.env),
      stdio: ['ignore', 'pipe', 'pipe', ...(options.onMessage === undefined ? [] : (['ipc'] as const))],
      // Ctrl-C must reach only this process, which ends the others in order.
      detached: true,
    });
    const { stdout, stderr } = this.#process;
    if (stdout !== null) createInterface(stdout).on('line', (line) => options.onLine?.(line));
    if (stderr !== null)
      createInterface(stderr).on('line', (line) => {
        this.#keep(line);
        options.onErrorLine?.(line);
      });
    if (options.onMessage !== undefined) this.#process.on('message', options.onMessage);
    // A message to a process that has just ended is no error here; `ended` reports its end.
    this.#process.on('error', () => undefined);
    this.ended = new Promise((resolve) => {
      this.#process.once('close', (code, signal) => resolve(signal ?? `code ${code}`));
    });
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  get running(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null;
  }

  send(message: object): void {
    if (this.#process.connected) this.#process.send(message);
  }

  /** Resolves when the process is gone. */
  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    if (!this.running) return;
    const gone = once(this.#process, 'exit');
    this.#process.kill(signal);
    await gone;
  }

  /** Returns the last lines of its stderr, as a sentence. */
  get lastWords(): string {
    return sentence(this.#stderr);
  }

  #keep(line: string): void {
    if (line.trim() === '') return;
    this.#stderr.push(line);
    if (this.#stderr.length > STDERR_LINES) this.#stderr.shift();
  }
}

/** Runs a command to its end. @throws WorldError with its stderr, if it fails. */
export async function command(...words: readonly string[]): Promise<string> {
  const [program = '', ...args] = words;
  try {
    return (await run(program, args)).stdout;
  } catch (error) {
    const stderr = error instanceof Error && 'stderr' in error ? String(error.stderr).trim().split('\n') : [];
    const why = sentence(stderr) || (error instanceof Error ? error.message : String(error));
    throw new WorldError(`\`${words.join(' ')}\` failed: ${why}`);
  }
}

/** @returns the object in a line of JSON; undefined for another line. */
export function parseEvent(line: string): Record<string, unknown> | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/** Returns the line that explains most: the last one of our own programs, or one in the middle of Node's traces. */
function sentence(lines: readonly string[]): string {
  const last = lines.at(-1) ?? '';
  const error = parseEvent(last)?.error;
  if (typeof error === 'object' && error !== null && 'message' in error) return String(error.message);
  return lines.find((line) => /^\w*Error\b/.test(line)) ?? last;
}

/**
 * Node 20 reads the extra certificates at every start, which costs more than all the rest of it: 40 ms and up
 * (measured here: 0.09 s to start without, 0.34 s with, on a busy machine). None of the children speaks TLS.
 */
function childEnvironment(more: NodeJS.ProcessEnv | undefined): NodeJS.ProcessEnv {
  const { NODE_EXTRA_CA_CERTS: _, ...environment } = process.env;
  return { ...environment, ...more };
}
