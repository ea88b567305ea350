/**
 * The simulation: the backend on the model of Xen, killed at every step of small scenarios and somewhere in many
 * drawn ones. Ends with 0; with 1 when a promise was broken, 2 for options that cannot be used.
 */
import { CommanderError } from 'commander';
import { EXHAUSTIVE, exhaust } from './exhaustive.js';
import { parseOptions, type SimOptions } from './options.js';
import { isClean, type Part, reportJson, reportText } from './report.js';
import { runSwarm } from './swarm.js';
import { Tally } from './tally.js';

const EXIT_BROKEN = 1;
const EXIT_USAGE = 2;

/** One line, drawn over itself; nothing where nobody looks. */
class Progress {
  readonly #shown = process.stderr.isTTY === true;
  #lastMs = 0;

  say(text: string): void {
    if (!this.#shown || performance.now() - this.#lastMs < 100) return;
    this.#lastMs = performance.now();
    process.stderr.write(`\r${text}\x1b[K`);
  }

  end(): void {
    if (this.#shown) process.stderr.write('\r\x1b[K');
  }
}

async function main(options: SimOptions): Promise<number> {
  const progress = new Progress();
  const parts: Part[] = [];
  if (options.exhaustive) {
    for (const twice of [false, true]) parts.push(await everyStep(twice, progress));
  }
  if (options.seeds > 0) {
    const name = options.seeds === 1 ? `seed ${options.seed}` : `${options.seeds} drawn scenarios`;
    parts.push(
      await timed(name, () =>
        runSwarm(options, (done) => progress.say(`scenario ${done} of ${options.seeds}`)),
      ),
    );
  }
  progress.end();
  process.stdout.write(options.json ? reportJson(parts) : reportText(parts));
  return isClean(parts) ? 0 : EXIT_BROKEN;
}

function everyStep(twice: boolean, progress: Progress): Promise<Part> {
  const name = twice ? 'every pair of steps' : 'every step';
  return timed(name, async () => {
    const all = new Tally();
    let runs = 0;
    for (const one of EXHAUSTIVE.filter((shape) => shape.twice === twice)) {
      const onRun = () => {
        runs += 1;
        progress.say(`${name}: ${runs} (${one.name}, payload ${one.scenario.payload})`);
      };
      all.merge(await exhaust(one, { onRun }));
    }
    return all;
  });
}

async function timed(name: string, work: () => Promise<Tally>): Promise<Part> {
  const beganMs = performance.now();
  const tally = await work();
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
