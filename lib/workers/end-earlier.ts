import { closeSync } from 'node:fs';
import type { EventLog } from '../daemon/run-log.js';
import { VifdError } from '../errors.js';
import { VifLocks } from '../host/vif-locks.js';
import type { Clock } from '../xen/seam.js';
import { adoptEarlier } from './adopt-earlier.js';
import { adoptedProcess } from './adopted-process.js';
import { END_MS, Fleet } from './fleet.js';
import { RemoteVifs } from './remote-vifs.js';
import { workersIn } from './worker-socket.js';

export interface EndEarlierParts {
  /** The runtime directory, in which workers have their sockets. */
  readonly directory: string;
  /** The domain of the backend. */
  readonly domid: number;
  readonly clock: Clock;
  readonly log: EventLog;
}

/** How long to wait for the lock of a process that has ended. */
const LOCK_STEP_MS = 1;

/**
 * Ends the workers that a supervisor has left, for a process that serves all vifs itself: two processes would respond to the same requests.
 * Their guests stay connected. Resolves when they are gone.
 * @throws VifdError ERR_WORKER, with the errno, if the directory cannot be read.
 */
export async function endEarlier(parts: EndEarlierParts): Promise<void> {
  const locks = new VifLocks(parts.directory);
  if (workersIn(parts.directory).length > 0) await endBySocket(parts, locks);
  await endByLock(parts, locks);
}

async function endBySocket(
  { directory, domid, clock, log }: EndEarlierParts,
  locks: VifLocks,
): Promise<void> {
  const nothing = () => {};
  const fleet = new Fleet({
    clock,
    log,
    // All of them end anyway.
    memoryOf: () => undefined,
    schedulingOf: () => undefined,
    start: () => Promise.reject(new Error('This fleet starts no worker.')),
    onAttached: nothing,
    onGone: nothing,
    onDied: () => [],
  });
  await adoptEarlier({
    ...{ directory, locks, domid, clock, fleet },
    supervisor: { adopt: nothing },
    connect: (descriptor, reports) =>
      new RemoteVifs(descriptor, {
        ...reports,
        ...{ onDetached: nothing, onChanged: nothing, onLookAgain: nothing, onForget: nothing },
        // The service manager has duplicates.
        onKeep: (_name, kept) => closeSync(kept),
        // The worker unbinds the ports as it detaches.
        onKeepChannels: (_vif, { descriptor }) => closeSync(descriptor),
        onForgetChannels: nothing,
      }),
    onError: (error) => log.error(error, undefined),
  });
  await fleet.end();
}

/** Ends workers whose sockets are not there: they were deleted, or could not be created. They have the locks of their vifs. */
async function endByLock({ clock, log }: EndEarlierParts, locks: VifLocks): Promise<void> {
  for (let pid = locks.anyHolder(); pid !== undefined; pid = locks.anyHolder()) {
    const process = adoptedProcess(pid, clock);
    if (process === undefined) {
      await new Promise<void>((resolve) => clock.after(LOCK_STEP_MS, resolve));
      continue;
    }
    const message =
      `The worker ${pid} of an earlier vifd serves vifs, and its socket is not in the runtime directory: it is ended by SIGTERM, ` +
      'and this process serves its guests.';
    log.error(new VifdError('ERR_WORKER', message), undefined);
    const late = clock.after(END_MS, () => process.signal('SIGKILL'));
    process.signal('SIGTERM');
    await process.gone;
    late[Symbol.dispose]();
  }
}
