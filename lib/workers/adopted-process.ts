import { readFileSync } from 'node:fs';
import type { Clock } from '../xen/seam.js';
import type { WorkerProcess } from './running-worker.js';

/** How often to look whether the process is there, of which no event reports the end. The link's end usually comes earlier. */
const LOOK_MS = 50;
/** The same once it was killed, while its guests wait for that. */
const KILLED_LOOK_MS = 1;

/** Fields of /proc/PID/stat (proc(5)), counted from the state, which stands after the name in brackets. */
const STATE = 0;
const THREADS = 17;
const START_TIME = 19;

interface Seen {
  /** In clock ticks since the host's start: another process with the same id has another one. */
  readonly startTime: string;
  /** Whether the kernel has released all that the process had. A zombie's first thread may end before others that still use it. */
  readonly isOver: boolean;
}

/**
 * Returns a process that an earlier supervisor has started, and that is no child of this one; undefined if it is gone.
 * @param proc the mount point of procfs.
 * @throws Error if the process cannot be looked at.
 */
export function adoptedProcess(pid: number, clock: Clock, proc = '/proc'): WorkerProcess | undefined {
  const first = look(pid, proc);
  if (first === undefined || first.isOver) return undefined;
  const isGone = () => {
    try {
      const seen = look(pid, proc);
      return seen === undefined || seen.isOver || seen.startTime !== first.startTime;
    } catch {
      // Nothing is known for lack of descriptors, say: another process must not serve its vifs yet. The next look tells.
      return false;
    }
  };
  let end: (how: string) => void = () => {};
  const gone = new Promise<string>((resolve) => {
    end = resolve;
  });
  let killed = false;
  let timer = clock.after(LOOK_MS, watch);
  function watch(): void {
    if (isGone()) end(killed ? 'SIGKILL' : 'ended');
    else timer = clock.after(killed ? KILLED_LOOK_MS : LOOK_MS, watch);
  }
  const signal = (name: NodeJS.Signals) => {
    if (isGone()) return;
    try {
      process.kill(pid, name);
    } catch (error) {
      // Its parent has waited for it since the look.
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
    killed ||= name === 'SIGKILL';
    timer[Symbol.dispose]();
    watch();
  };
  return { pid, gone, signal };
}

/** @returns undefined if there is no such process. @throws Error if that cannot be found out. */
function look(pid: number, proc: string): Seen | undefined {
  let stat: string;
  try {
    stat = readFileSync(`${proc}/${pid}/stat`, 'latin1');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // ESRCH for a process that ends during the call.
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const isOver = fields[STATE] === 'X' || (fields[STATE] === 'Z' && Number(fields[THREADS]) <= 1);
  return { startTime: fields[START_TIME], isOver };
}
