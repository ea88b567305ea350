import type { Clock } from '../xen/seam.js';
import { processStat } from './process-stat.js';
import type { WorkerProcess } from './running-worker.js';

/** How often to look whether the process is there, of which no event reports the end. The link's end usually comes earlier. */
const LOOK_MS = 50;
/** The same once it was killed, while its guests wait for that. */
const KILLED_LOOK_MS = 1;

/**
 * Returns a process that an earlier supervisor has started, and that is no child of this one; undefined if it is gone.
 * @param proc the mount point of procfs.
 * @throws Error if the process cannot be looked at.
 */
export function adoptedProcess(pid: number, clock: Clock, proc = '/proc'): WorkerProcess | undefined {
  const first = processStat(pid, proc);
  if (first === undefined || first.isOver) return undefined;
  const isGone = () => {
    try {
      const seen = processStat(pid, proc);
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
  const isExiting = () => {
    try {
      const seen = processStat(pid, proc);
      return seen?.startTime === first.startTime && seen.isExiting;
    } catch {
      // As above.
      return false;
    }
  };
  return { pid, gone, isExiting, signal };
}
