import { closeSync } from 'node:fs';
import type { EventLog } from '../daemon/run-log.js';
import { VifLocks } from '../host/vif-locks.js';
import type { Clock } from '../xen/seam.js';
import { adoptEarlier } from './adopt-earlier.js';
import { Fleet } from './fleet.js';
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

/**
 * Ends the workers that a supervisor has left, for a process that serves all vifs itself: two processes would respond to the same requests.
 * Their guests stay connected. Resolves when they are gone.
 * @throws VifdError ERR_WORKER, with the errno, if the directory cannot be read.
 */
export async function endEarlier({ directory, domid, clock, log }: EndEarlierParts): Promise<void> {
  if (workersIn(directory).length === 0) return;
  const nothing = () => {};
  const fleet = new Fleet({
    clock,
    log,
    // All of them end anyway.
    memoryOf: () => undefined,
    start: () => Promise.reject(new Error('This fleet starts no worker.')),
    onAttached: nothing,
    onGone: nothing,
    onDied: () => [],
  });
  await adoptEarlier({
    ...{ directory, locks: new VifLocks(directory), domid, clock, fleet },
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
