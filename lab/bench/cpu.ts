import { readdirSync, readFileSync } from 'node:fs';

/** Linux counts in hundredths of a second (USER_HZ). */
const TICK_MS = 10;

/** Processor time in ms, from any beginning. */
export interface CpuTime {
  /** The time of the backend: its process, or the kernel threads of the vif. */
  readonly own: number;
  /** All work of dom0: the network stack in interrupts, the measuring program, the backend. */
  readonly dom0: number;
}

export function cpuTime(pids: readonly number[]): CpuTime {
  return { own: pids.reduce((sum, pid) => sum + processMs(pid), 0), dom0: busyMs() };
}

/** @returns kernel threads whose name begins with this. xen-netback's are `vif7.0-q0-guest-rx` and `vif7.0-q0-dealloc`. */
export function kernelThreads(prefix: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => nameOf(pid).startsWith(prefix))
    .map(Number);
}

function nameOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8');
  } catch {
    // The thread has ended meanwhile.
    return '';
  }
}

/** proc(5): utime and stime are the 14th and 15th; the name, which may have spaces, ends with the last bracket. */
function processMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}

/** proc(5): user nice system idle iowait irq softirq steal ... */
function busyMs(): number {
  const all = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0]?.split(/\s+/).slice(1).map(Number) ?? [];
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = all;
  return (user + nice + system + irq + softirq) * TICK_MS;
}
