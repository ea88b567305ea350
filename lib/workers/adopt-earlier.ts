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
import type { RemoteWorker, WorkerProcess, WorkerReports } from './running-worker.js';
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
}

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
  const holders = named.map((place) => holderOf(parts, place, pid));
  const other = named.find((_place, i) => holders[i] !== undefined && holders[i] !== pid);
  if (other !== undefined) {
    const message = `The worker ${pid} of an earlier vifd names ${other.id}, which it does not serve: it is killed, and its guests get another worker.`;
    parts.onError(new VifdError('ERR_WORKER', message, { vif: other.id }));
    worker.kill('it named a vif that it does not serve');
    await worker.gone;
    return;
  }
  // A vif without a lock has ended, and the worker is about to report that.
  const places = named.filter((_place, i) => holders[i] === pid);
  if (places.length === 0) fleet.giveBack(worker);
  else supervisor.adopt(worker, places);
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
