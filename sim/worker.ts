/** A thread of the simulation: does one job after the other, and says how far it is. See crew.ts. */
import { parentPort } from 'node:worker_threads';
import { doJob, type Job } from './jobs.js';
import type { Tally } from './tally.js';

/** What a worker says: a run ended, or the whole job with this. */
export type Report = 'run' | Tally;

const port = parentPort!;

port.on('message', (job: Job) => {
  doJob(job, () => port.postMessage('run' satisfies Report)).then(
    (tally) => port.postMessage(tally satisfies Report),
    (error) => {
      // Ends the thread: its crew hears of it as an error.
      queueMicrotask(() => {
        throw error;
      });
    },
  );
});
