import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { Job } from './jobs.js';
import { Tally } from './tally.js';
import type { Report } from './worker.js';

/**
 * Does jobs, one in each thread of the machine at a time.
 * @param onProgress called after each run with the number of runs so far, and of jobs that have ended.
 * @returns the results of all jobs, in their order.
 */
export async function inCrew(
  jobs: readonly Job[],
  onProgress: (runs: number, ended: number) => void,
): Promise<Tally> {
  const waiting = [...jobs.entries()];
  const tallies: Tally[] = [];
  let runs = 0;
  const onRun = () => onProgress(++runs, tallies.filter((tally) => tally !== undefined).length);
  const workers = Array.from({ length: Math.min(availableParallelism(), jobs.length) }, begin);
  try {
    await Promise.all(
      workers.map(async (worker) => {
        for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
          const [index, job] = next;
          tallies[index] = await done(worker, job, onRun);
        }
      }),
    );
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
  const all = new Tally();
  for (const tally of tallies) all.merge(tally);
  return all;
}

function begin(): Worker {
  // The links of a take-over come from the addon, and Node warns of each descriptor that it has not opened itself.
  return new Worker(new URL('./worker.js', import.meta.url), { trackUnmanagedFds: false });
}

function done(worker: Worker, job: Job, onRun: () => void): Promise<Tally> {
  return new Promise((resolve, reject) => {
    const heard = (report: Report) => {
      if (report === 'run') return onRun();
      worker.off('message', heard).off('error', reject);
      resolve(report);
    };
    worker.on('message', heard).once('error', reject).postMessage(job);
  });
}
