import { closeSync } from 'node:fs';
import { VifdError, vifdErrorOf } from '../errors.js';
import type { VifPlace } from '../netback/vif/directory.js';
import type { VifId } from '../netback/vif-info.js';
import { backendVifPath } from '../protocol/xenbus.js';
import type { Clock } from '../xen/seam.js';
import { adoptedProcess } from './adopted-process.js';
import type { Fleet } from './fleet.js';
import { LINK_PROTOCOL } from './messages.js';
import type { RemoteWorker, WorkerReports } from './running-worker.js';
import type { Supervisor } from './supervisor.js';
import { linkTo, removeSocket, workersIn } from './worker-socket.js';

export interface AdoptEarlierParts {
  /** The runtime directory, in which workers have their sockets. */
  readonly directory: string;
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
    workersIn(parts.directory).map((pid) => adopt(parts, pid).catch((error) => parts.onError(error))),
  );
}

async function adopt(parts: AdoptEarlierParts, pid: number): Promise<void> {
  const { directory, domid, clock, fleet, supervisor, connect } = parts;
  // The socket of a process that is gone is removed, and another program may have its number.
  const descriptor = linkTo(directory, pid);
  if (descriptor === undefined) return;
  const process = adoptedProcess(pid, clock);
  if (process === undefined) {
    closeSync(descriptor);
    return;
  }
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
  const vifs = [...worker.remote.vifs.keys()];
  if (vifs.length === 0) fleet.giveBack(worker);
  else
    supervisor.adopt(
      worker,
      vifs.map((id) => placeOf(id, domid)),
    );
}

function placeOf(id: VifId, backend: number): VifPlace {
  const [, domid, handle] = (/^vif(\d+)\.(\d+)$/.exec(id) ?? []).map(Number);
  return { id, domid, handle, path: backendVifPath(backend, domid, handle) };
}
