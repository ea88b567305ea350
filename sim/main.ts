/**
 * The simulation: the backend on the model of Xen, killed at every step of small scenarios and somewhere in many
 * drawn ones. Ends with 0; with 1 when a promise was broken, 2 for options that cannot be used.
 */
import { Progress } from '../programs/progress.js';
import { EXIT_FAILED, runProgram } from '../programs/run-program.js';
import { inCrew } from './crew.js';
import { type Job, jobsOfSeeds, jobsOfSteps } from './jobs.js';
import { parseOptions } from './options.js';
import { isClean, type Part, reportJson, reportText } from './sim-report.js';

async function main(args: readonly string[]): Promise<number> {
  const options = parseOptions(args);
  const progress = new Progress();
  const parts: Part[] = [];
  if (options.exhaustive) {
    parts.push(await part('every step', jobsOfSteps(false), progress));
    parts.push(await part('every pair of steps', jobsOfSteps(true), progress));
  }
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
