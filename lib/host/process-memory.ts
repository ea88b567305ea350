import { readFileSync, writeFileSync } from 'node:fs';
import { hostRemedy, VifdError } from '../errors.js';

/**
 * Returns the anonymous memory of a process in bytes, which nothing but the process needs: RssAnon and VmSwap of /proc/PID/status (proc(5)).
 * Mapped files (journals, the program) and guests' pages do not count. Undefined if the process is gone. The kernel sums it up as it goes, so
 * that reading it takes 0.1 ms; smaps_rollup has the same figure, and holds up a process with 100 MB for 5 ms.
 * @param proc the mount point of procfs.
 */
export function anonymousBytes(pid: number, proc = '/proc'): number | undefined {
  let status: string;
  try {
    status = readFileSync(`${proc}/${pid}/status`, 'latin1');
  } catch {
    // ENOENT, or ESRCH for a process that ends during the call.
    return undefined;
  }
  const kilobytes = [...status.matchAll(/^(?:RssAnon|VmSwap):\s*(\d+) kB$/gm)].map(([, digits]) =>
    Number(digits),
  );
  // A zombie has a status without memory.
  return kilobytes.length === 0 ? undefined : kilobytes.reduce((sum, one) => sum + one, 0) * 1024;
}

const OOM_SCORE_MAX = 1000;

/**
 * Makes the kernel prefer this process to the one that started it when memory runs out (oom_score_adj of proc(5)). Needs no rights; the way back
 * would need CAP_SYS_RESOURCE.
 * @param more in thousandths of the memory that there is. @throws VifdError ERR_STATE, with the errno.
 */
export function raiseOomScore(more: number, path = '/proc/self/oom_score_adj'): void {
  try {
    const score = Number(readFileSync(path, 'latin1')) + more;
    writeFileSync(path, `${Math.min(score, OOM_SCORE_MAX)}`);
  } catch (cause) {
    const { code: errno = 'EIO' } = cause as NodeJS.ErrnoException;
    const message = `${path} cannot be written (${errno}), so that the kernel may kill vifd's supervisor before its workers: ${hostRemedy(errno)}.`;
    throw new VifdError('ERR_STATE', message, { errno, cause });
  }
}
