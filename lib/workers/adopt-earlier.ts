import { closeSync } from 'node:fs';
import { VifdError, vifdErrorOf } from '../errors.js';
import type { VifLocks } from '../host/vif-locks.js';
import type { VifPlace } from '../netback/vif/directory.js';
import type { VifId } from '../netback/vif-info.js';
import { backendVifPath } from '../protocol/xenbus.js';
import type { Clock } from '../xen/seam.js';
import { adoptedProcess } from './adopted-process.js';
import type { Fleet } from './fleet.js';
import { LINK_PROTOCOL } from './messages.js';
import { processStat } from './process-stat.js';
import type { RemoteWorker, RunningWorker, WorkerProcess, WorkerReports } from './running-worker.js';
import type { Supervisor } from './supervisor.js';
import { linkTo, removeSocket, workersIn } from './worker-socket.js';

export interface AdoptEarlierParts {
  /** The runtime directory, in which workers have their sockets. */
  readonly directory: string;
  /** Tells which process serves a vif, whatever a worker says. */
  readonly locks: Pick<VifLocks, 'holder'>;
  /** The domain of the backend. */
  readonly domid: number;
  readonly clock: Clock;
  readonly fleet: Pick<Fleet, 'adopt' | 'dismiss' | 'giveBack'>;
  readonly supervisor: Pick<Supervisor, 'adopt'>;
  readonly connect: (descriptor: number, reports: WorkerReports) => RemoteWorker;
  /** Called with ERR_WORKER for each worker that cannot be used. */
  readonly onError: (error: VifdError) => void;
  /** Whether a process runs no code any more, although it may still have its locks. Default: as the kernel has it. */
  readonly isDying?: (pid: number) => boolean;
}

/** Pauses between looks at the lock of a process that is dying, as the worker that waits for it makes (`WorkerLocks`). */
const LOCK_STEP_MS = 5;
/** How long a worker may take to get a lock that is free: it tries every 64 ms. */
const FREE_LOCK_MS = 500;
/** How long a process may take to die. The worker that waits for its lock serves the vif until then. */
const DYING_MS = 5000;

/**
 * Continues with the workers of an earlier supervisor, which serve their vifs meanwhile. One of another protocol version is asked to end;
 * then its vifs are found as others are. Resolves when each has responded or has ended.
 */
export async function adoptEarlier(parts: AdoptEarlierParts): Promise<void> {
  await Promise.all(
    workersIn(parts.directory).map((pid) =>
      adopt(parts, pid).catch((error) => parts.onError(vifdErrorOf(error))),
    ),
  );
}

async function adopt(parts: AdoptEarlierParts, pid: number): Promise<void> {
  const { directory, domid, clock, fleet, supervisor, connect } = parts;
  // The socket of a process that is gone is removed, and another program may have its number.
  const descriptor = linkTo(directory, pid);
  if (descriptor === undefined) return;
  let process: WorkerProcess | undefined;
  try {
    process = adoptedProcess(pid, clock);
  } finally {
    if (process === undefined) closeSync(descriptor);
  }
  if (process === undefined) return;
  void process.gone.then(() => removeSocket(directory, pid));
  const { worker, hello } = await fleet.adopt(async (reports) => {
    return { process, remote: connect(descriptor, reports) };
  });
  const isOther = hello.pid !== pid;
  if (hello.protocol !== LINK_PROTOCOL || isOther) {
    const what = isOther
      ? `calls itself ${hello.pid}`
      : `speaks another protocol (${hello.protocol}, vifd ${hello.version})`;
    const message = `The worker ${pid} of an earlier vifd ${what}: it is asked to end, and its guests get another worker.`;
    parts.onError(new VifdError('ERR_WORKER', message));
    await fleet.dismiss(worker).catch((error) => parts.onError(vifdErrorOf(error)));
    return;
  }
  // And not those of its hello: some may have ended right behind that.
  const named = [...worker.remote.vifs.keys()].map((id) => placeOf(id, domid));
  const holders = await Promise.all(named.map((place) => lastingHolderOf(parts, place, worker)));
  // It has died meanwhile, and its vifs are found as others are.
  if (worker.ended) return;
  const other = named.find((_place, i) => holders[i] !== undefined && holders[i] !== pid);
  if (other !== undefined) {
    const message = `The worker ${pid} of an earlier vifd names ${other.id}, which it does not serve: it is killed, and its guests get another worker.`;
    parts.onError(new VifdError('ERR_WORKER', message, { vif: other.id }));
    worker.kill('it named a vif that it does not serve');
    await worker.gone;
    return;
  }
  // A vif without a lock has ended, and the worker is about to report that.
  const places = named.filter(({ id }, i) => holders[i] === pid && worker.remote.vifs.has(id));
  worker.remote.confirm(places.map(({ id }) => id));
  if (places.length === 0) fleet.giveBack(worker);
  else supervisor.adopt(worker, places);
}

/**
 * As `holderOf`, once that is decided: a worker that has taken a vif over waits for its lock until the kernel has freed the memory of the
 * process that died.
 */
async function lastingHolderOf(
  parts: AdoptEarlierParts,
  place: VifPlace,
  worker: RunningWorker,
): Promise<number | undefined> {
  const { clock, isDying = isEnding } = parts;
  const { pid, remote } = worker;
  const beganMs = clock.now();
  let takenMs = beganMs;
  for (;;) {
    const holder = holderOf(parts, place, pid);
    const nowMs = clock.now();
    if (holder !== undefined) {
      if (holder === pid || holder === NOBODY || !isDying(holder)) return holder;
      // It does not die, and serves no more all the same.
      if (nowMs - beganMs > DYING_MS) return pid;
      takenMs = nowMs;
    } else if (nowMs - takenMs > FREE_LOCK_MS) return undefined;
    // The vif has ended, or the worker has.
    if (!remote.vifs.has(place.id) || worker.ended) return undefined;
    await new Promise<void>((resolve) => clock.after(LOCK_STEP_MS, resolve));
  }
}

function isEnding(pid: number): boolean {
  try {
    const stat = processStat(pid);
    return stat === undefined || stat.isOver || stat.isExiting;
  } catch {
    // Nothing is known for lack of descriptors, say. Then the lock says who serves.
    return false;
  }
}

/** Returns the process that serves a vif, by its lock: that of the worker that names it, if the locks cannot be read. */
function holderOf({ locks, onError }: AdoptEarlierParts, place: VifPlace, pid: number): number | undefined {
  try {
    return locks.holder(place);
  } catch (thrown) {
    const error = vifdErrorOf(thrown);
    if (error.code === 'ERR_ARGUMENT') return NOBODY;
    onError(error);
    return pid;
  }
}

/** Serves a vif that cannot be. No process has this id. */
const NOBODY = 0;

function placeOf(id: VifId, backend: number): VifPlace {
  const [, domid, handle] = (/^vif(\d+)\.(\d+)$/.exec(id) ?? []).map(Number);
  return { id, domid, handle, path: backendVifPath(backend, domid, handle) };
}
