/**
 * The simulation: the backend on the model of Xen, killed at every step of small scenarios and at some steps of many drawn ones; workers and
 * their supervisor, killed at every step of a take-over. Then it checks that it finds the wrong order of two stores, for each structure of the
 * journals, and wrong take-overs. Ends with 0; with 1 if a promise was broken or a wrong order was not found, 2 for invalid options.
 */
import { Progress } from '../programs/progress.js';
import { EXIT_FAILED, runProgram } from '../programs/run-program.js';
import { inCrew } from './crew.js';
import {
  type Job,
  jobsOfMutations,
  jobsOfSeeds,
  jobsOfSteps,
  jobsOfTakeOvers,
  jobsOfWrongTakeOvers,
} from './jobs.js';
import { parseOptions } from './options.js';
import { isClean, type Part, reportJson, reportText } from './sim-report.js';

const MUTATIONS_PART = 'wrong orders';

async function main(args: readonly string[]): Promise<number> {
  const options = parseOptions(args);
  const progress = new Progress();
  const parts: Part[] = [];
  if (options.exhaustive) {
    parts.push(await part('every step', jobsOfSteps(false), progress));
    parts.push(await part('every pair of steps', jobsOfSteps(true), progress));
  }
  if (options.takeOvers) parts.push(await part('every step of a take-over', jobsOfTakeOvers(), progress));
  if (options.mutations)
    parts.push(await part(MUTATIONS_PART, [...jobsOfMutations(), ...jobsOfWrongTakeOvers()], progress));
  if (options.seeds > 0) {
    const name = options.seeds === 1 ? `seed ${options.seed}` : `${options.seeds} drawn scenarios`;
    parts.push(await part(name, jobsOfSeeds(options), progress));
  }
  progress.end();
  process.stdout.write(options.json ? reportJson(parts) : reportText(parts));
  return isClean(parts) ? 0 : EXIT_FAILED;
}

async function part(name: string, jobs: readonly Job[], progress: Progress): Promise<Part> {
  const beganMs = performance.now();
  const tally = await inCrew(jobs, (runs, ended) => {
    progress.say(`${name}: ${runs} runs, ${ended} of ${jobs.length} parts`);
  });
  return { name, tally, seconds: (performance.now() - beganMs) / 1000 };
}

await runProgram('sim', main);
