import { closeSync } from 'node:fs';
import { addon, errnoName } from '../addon.js';
import { hostRemedy, VifdError } from '../errors.js';
import { startAsWorker } from '../host/confine.js';
import { makeLiveness, watchDeath } from '../host/liveness.js';
import { processStat } from './process-stat.js';

/** A process that was started as a worker. */
export interface StartedWorker {
  readonly pid: number;
  /** The supervisor's end of the link, which is the caller's. */
  readonly descriptor: number;
  /**
   * Resolves when the process is gone, with how it ended (`SIGKILL`, `code 1`). The kernel has released all that it had by then: its locks,
   * event channels and mapped pages.
   */
  readonly gone: Promise<string>;
  /** Resolves when the process writes to no ring any more, mostly some ms before it is gone. It may still have its locks, or only claim its death. */
  readonly dying: Promise<void>;
  /** Whether the kernel ends its main thread: no store to a ring follows. */
  isExiting(): boolean;
  /** Sends a signal; does nothing once the process is gone. */
  signal(signal: NodeJS.Signals): void;
}

/** What a service manager means for the supervisor alone: a worker must not feed its watchdog, or take its descriptors. */
const OF_MANAGER = [
  'NOTIFY_SOCKET',
  'WATCHDOG_PID',
  'WATCHDOG_USEC',
  'LISTEN_PID',
  'LISTEN_FDS',
  'LISTEN_FDNAMES',
];

/**
 * Of glibc (mallopt(3)). V8's threads compile by a few MB of memory, of which each would keep what it had in an arena of its own: 5 MB in a worker of 64
 * vifs. With one arena for all, the main thread uses it again. The threshold makes free memory at its end go back at once.
 */
const OF_MALLOC = { MALLOC_ARENA_MAX: '1', MALLOC_TRIM_THRESHOLD_: `${64 << 10}` };

/**
 * Starts a worker's process, by the Node of this process and with its options. It writes to the same stdout and stderr.
 * @param args of node: the program, and its own.
 * @throws VifdError ERR_WORKER, with the errno, if it cannot be started.
 */
export async function startWorker(args: readonly string[]): Promise<StartedWorker> {
  const pair = addon().socketPair();
  if (typeof pair === 'number') throw unstartable(errnoName(pair));
  const [descriptor, theirs] = pair;
  let page = -1;
  const environment: NodeJS.ProcessEnv = { ...OF_MALLOC, ...process.env };
  for (const name of OF_MANAGER) delete environment[name];
  try {
    page = makeLiveness();
    // Loaded only here, because `--workers 0` starts no process, and node:child_process costs a start some ms.
    const { spawn } = process.getBuiltinModule('node:child_process');
    const start = () =>
      spawn(process.execPath, [...process.execArgv, ...args], {
        env: environment,
        // The last two are LINK_DESCRIPTOR and LIVENESS_DESCRIPTOR.
        stdio: ['ignore', 'inherit', 'inherit', theirs, page],
        // In a session of its own: Ctrl-C reaches the supervisor alone, which ends its workers in order.
        detached: true,
      });
    const child = startAsWorker(start);
    const gone = new Promise<string>((resolve) => {
      child.once('exit', (code, signal) => resolve(signal ?? `code ${code}`));
    });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', reject);
    });
    // A signal that cannot be sent is not an event that anybody waits for.
    child.on('error', () => undefined);
    // The process ends when the supervisor has ended its work, and not when its last worker has.
    child.unref();
    const pid = child.pid as number;
    let die = () => {};
    const dying = new Promise<void>((resolve) => {
      die = resolve;
    });
    try {
      watchDeath({ pid, liveness: page, onDeath: die });
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
    const isExiting = () => {
      try {
        return processStat(pid)?.isExiting === true;
      } catch {
        // Nothing is known for lack of descriptors, say. Whoever asks waits until the process is gone.
        return false;
      }
    };
    return { pid, descriptor, gone, dying, isExiting, signal: (signal) => void child.kill(signal) };
  } catch (error) {
    closeSync(descriptor);
    const errno = error instanceof VifdError ? error.errno : (error as NodeJS.ErrnoException).code;
    throw unstartable(errno ?? 'EIO', error);
  } finally {
    closeSync(theirs);
    if (page >= 0) closeSync(page);
  }
}

function unstartable(errno: string, cause?: unknown): VifdError {
  const message = `A worker's process cannot be started (${errno}): ${hostRemedy(errno)}; vifd tries again.`;
  return new VifdError('ERR_WORKER', message, { errno, cause });
}
