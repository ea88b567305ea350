import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { command } from '../../worlds/processes/children.js';

/** How a worker dies. */
export interface WorkerFault {
  readonly name: string;
  /** Whether the supervisor suspects a vif of it: after the third within a minute it would serve the vifs otherwise. */
  readonly suspicious: boolean;
  /** Whether the worker is still there for a while: the gap proper begins when the supervisor notices. */
  readonly noticedLate: boolean;
  /** How many workers die. */
  readonly deaths: number;
}

const signal = (name: string, suspicious: boolean): WorkerFault => ({
  ...{ name, suspicious, noticedLate: false, deaths: 1 },
});
export const TWICE = 'SIGKILL twice';

export const WORKER_FAULTS: readonly WorkerFault[] = [
  signal('SIGKILL', false),
  signal('SIGSEGV', true),
  signal('SIGABRT', true),
  signal('exception', true),
  { ...signal('SIGSTOP', true), noticedLate: true },
  { ...signal('busy loop', true), noticedLate: true },
  { ...signal('out of memory', true), noticedLate: true },
  { ...signal(TWICE, false), deaths: 2 },
];

const SIGNALS: ReadonlySet<string> = new Set(['SIGKILL', 'SIGSEGV', 'SIGABRT', 'SIGSTOP']);
/** How much a worker may still get before its memory is at an end. */
const LEFT_BYTES = 32 << 20;

/** @param file that faulty.cts reads. */
export async function prepare(fault: WorkerFault, pid: number, file: string): Promise<void> {
  writeFileSync(file, fault.name);
  if (fault.name !== 'out of memory') return;
  const pages = Number(readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ')[0]);
  await command('prlimit', '--pid', `${pid}`, `--as=${pages * 4096 + LEFT_BYTES}`);
  await sleep(20);
}

/** Has the worker die, or hang. */
export function strike({ name }: WorkerFault, pid: number): void {
  if (name === TWICE) process.kill(pid, 'SIGKILL');
  else process.kill(pid, SIGNALS.has(name) ? (name as NodeJS.Signals) : 'SIGUSR2');
}
