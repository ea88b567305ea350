import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import type { Store } from '../../lib/xen/seam.js';
import type { Guest } from './guest.js';
import { until } from './process.js';
import { RUNTIME } from './vifd.js';

/** Returns the workers of the running vifd, each of which has a socket in its directory. One may have ended a moment ago. */
export function workersRunning(): number[] {
  if (!existsSync(RUNTIME)) return [];
  const names = readdirSync(RUNTIME).filter((name) => name.startsWith('worker-'));
  return names.map((name) => Number(name.slice('worker-'.length)));
}

/** What the log has of workers that were killed, and of those that the busy host gives no processor. */
const EXPECTED = [
  // `ended` is all that a supervisor knows of a worker that an earlier one has started.
  /^worker \d+ died \((SIGKILL|ended|SIGKILL: its event loop has not run for [\d.]+ s)\); /,
  /^The worker \d+ was killed and does not end, /,
  /^vif\S+ is not served yet: its worker \(process \d+\) has not responded for /,
];

/** Returns whether an error of vifd's log is no failure where tests kill workers. A guest that gets no worker fails a test by itself. */
export function isExpected(message: string): boolean {
  return EXPECTED.some((pattern) => pattern.test(message));
}

/** Returns the process that attached to a guest last; NaN if none has. */
export async function workerOf(store: Store, { backendPath }: Guest): Promise<number> {
  return Number(await store.read(`${backendPath}/vifd/attached`));
}

/** Returns the workers that serve no guest. */
export async function freeWorkers(store: Store): Promise<number[]> {
  const vifs = '/local/domain/0/backend/vif';
  const serving = await Promise.all(
    (await store.list(vifs)).map((domid) => store.read(`${vifs}/${domid}/0/vifd/attached`)),
  );
  // A process that is about to end has no memory any more, and so no executable.
  return workersRunning().filter((pid) => !serving.includes(`${pid}`) && existsSync(`/proc/${pid}/exe`));
}

/** Kills the worker of a guest. Resolves when another one serves it. @returns the one that was killed. */
export async function killWorker(store: Store, guest: Guest): Promise<number> {
  const before = await workerOf(store, guest);
  endWorker(before);
  await until(`another worker serves ${guest.vif}`, async () => (await workerOf(store, guest)) !== before);
  return before;
}

/** Kills a worker. One that is gone already was ended by its supervisor, because the busy host gave it no processor. */
export function endWorker(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Returns how many handles for event channels a process has: a supervisor one for itself, and one for each vif that a worker serves. */
export function eventHandlesOf(pid: number | undefined): number {
  const folder = `/proc/${pid}/fd`;
  return readdirSync(folder).filter((name) => targetOf(`${folder}/${name}`) === '/dev/xen/evtchn').length;
}

/** @returns undefined for a descriptor that was closed meanwhile. */
function targetOf(link: string): string | undefined {
  try {
    return readlinkSync(link);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
