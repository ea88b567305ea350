/** A thread of the simulation: does one job after the other, and reports its progress. See crew.ts. */
import { parentPort } from 'node:worker_threads';
import { doJob, type Job } from './jobs.js';
import type { Tally } from './tally.js';

/** A worker's message: a run ended, or the job ended with this result. */
export type Report = 'run' | Tally;

const port = parentPort!;

port.on('message', (job: Job) => {
  doJob(job, () => port.postMessage('run' satisfies Report)).then(
    (tally) => port.postMessage(tally satisfies Report),
    (error) => {
      // Ends the thread: its crew gets an error.
      queueMicrotask(() => {
        throw error;
      });
    },
  );
});
