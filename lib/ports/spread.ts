import { readFileSync, writeFileSync } from 'node:fs';

/**
 * Has what is written into a queue of a tap dealt with by other processors: the host's stack, a bridge and a local receiver
 * otherwise run within the write, on the one thread that serves the guests (receive packet steering,
 * Documentation/networking/scaling.rst of Linux). A flow stays on one processor, so its frames stay in order.
 *
 * All processors but the first, which is left to that thread: Linux moves it there. In a dom0 with two (the lab), TCP from the
 * guest in runs of 4 s that took turns was 1.8 times what it was without (median of 8), and 1.1 times with both processors.
 *
 * What somebody has set is left alone. Where it cannot be set (no RPS in this kernel, sysfs of another network namespace or
 * read-only, no rights) the tap works as well, and slower.
 */
export function spreadOverCpus(tap: string, queue: number, sys = '/sys'): void {
  const file = `${sys}/class/net/${tap}/queues/rx-${queue}/rps_cpus`;
  try {
    if (!isUnset(readFileSync(file, 'utf8'))) return;
    const cpus = cpuMask(readFileSync(`${sys}/devices/system/cpu/online`, 'utf8'));
    if (cpus !== undefined) writeFileSync(file, cpus, { flag: 'r+' });
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (!['ENOENT', 'EROFS', 'EACCES', 'EPERM'].includes(code)) throw error;
  }
}

function isUnset(mask: string): boolean {
  return /^[0,\s]*$/.test(mask);
}

/**
 * @param online as `0-3,8`.
 * @returns all but the first; 32 bits a group, the highest first, as `f,00000001`; undefined for a single processor.
 */
function cpuMask(online: string): string | undefined {
  const groups: number[] = [];
  let count = 0;
  for (const range of online.trim().split(',')) {
    const [first = Number.NaN, last = first] = range.split('-').map(Number);
    for (let cpu = first; cpu <= last; cpu++, count++) {
      if (count === 0) continue;
      const group = cpu >>> 5;
      groups[group] = ((groups[group] ?? 0) | (1 << (cpu & 31))) >>> 0;
    }
  }
  if (count < 2) return undefined;
  return Array.from(groups, (group = 0) => group.toString(16).padStart(8, '0'))
    .reverse()
    .join(',');
}
