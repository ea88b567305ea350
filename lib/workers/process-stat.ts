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

/** How the kernel schedules the first thread of a process. */
export interface Scheduling {
  /** Whether it runs, or waits for a processor. */
  readonly isRunnable: boolean;
  /** How long it has run so far. */
  readonly ranMs: number;
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
  const fields = fieldsOf(stat);
  const isOver = fields[STATE] === 'X' || (fields[STATE] === 'Z' && Number(fields[THREADS]) <= 1);
  const isExiting = (Number(fields[FLAGS]) & EXITING) !== 0;
  return { startTime: fields[START_TIME], isOver, isExiting };
}

/** @returns undefined where that cannot be found out: the process is gone, or the kernel was built without CONFIG_SCHED_INFO. */
export function scheduling(pid: number, proc = '/proc'): Scheduling | undefined {
  try {
    const state = fieldsOf(readFileSync(`${proc}/${pid}/stat`, 'latin1'))[STATE];
    const ranNs = Number(readFileSync(`${proc}/${pid}/schedstat`, 'latin1').split(' ')[0]);
    return { isRunnable: state === 'R', ranMs: ranNs / 1e6 };
  } catch {
    return undefined;
  }
}

function fieldsOf(stat: string): string[] {
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}
