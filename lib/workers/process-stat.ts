import { readFileSync } from 'node:fs';

/** Fields of /proc/PID/stat (proc(5)), counted from the state, which stands after the name in brackets. */
const STATE = 0;
const FLAGS = 6;
const THREADS = 17;
const START_TIME = 19;
/** PF_EXITING (include/linux/sched.h). */
const EXITING = 0x4;

export interface ProcessStat {
  /** In clock ticks since the host's start: another process with the same id has another one. */
  readonly startTime: string;
  /** Whether the kernel has released all that the process had. A zombie's first thread may end before others that still use it. */
  readonly isOver: boolean;
  /** Whether the kernel ends the first thread, or has ended it: that thread runs none of its code any more. */
  readonly isExiting: boolean;
}

/**
 * Returns what the kernel says about a process; undefined if there is none.
 * @param proc the mount point of procfs. @throws Error if that cannot be found out.
 */
export function processStat(pid: number, proc = '/proc'): ProcessStat | undefined {
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
  const isExiting = (Number(fields[FLAGS]) & EXITING) !== 0;
  return { startTime: fields[START_TIME], isOver, isExiting };
}
