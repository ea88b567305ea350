/**
 * The simulation: the backend on the model of Xen, killed at every step of small scenarios and somewhere in many
 * drawn ones. Ends with 0; with 1 when a promise was broken, 2 for options that cannot be used.
 */
import { CommanderError } from 'commander';
import { inCrew } from './crew.js';
import { type Job, jobsOfSeeds, jobsOfSteps } from './jobs.js';
import { parseOptions, type SimOptions } from './options.js';
import { Progress } from './progress.js';
import { isClean, type Part, reportJson, reportText } from './report.js';

const EXIT_BROKEN = 1;
const EXIT_USAGE = 2;

async function main(options: SimOptions): Promise<number> {
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
  return isClean(parts) ? 0 : EXIT_BROKEN;
}

async function part(name: string, jobs: readonly Job[], progress: Progress): Promise<Part> {
  const beganMs = performance.now();
  const tally = await inCrew(jobs, (runs, ended) => {
    progress.say(`${name}: ${runs} runs, ${ended} of ${jobs.length} parts`);
  });
  return { name, tally, seconds: (performance.now() - beganMs) / 1000 };
}

try {
  process.exitCode = await main(parseOptions(process.argv.slice(2)));
} catch (error) {
  // Commander has printed its message; help is no failure.
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE;
  else {
    process.stderr.write(`sim: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = EXIT_BROKEN;
  }
}
