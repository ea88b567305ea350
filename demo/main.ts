/**
 * The demo: guests with live connections, and a backend that is ended and started again every second. It runs in network namespaces of its
 * own if the machine permits them, else on the model.
 */
import { enterNamespaces, isInside } from '../programs/namespaces.js';
import { preflight } from '../programs/preflight.js';
import { EXIT_FAILED, runProgram } from '../programs/run-program.js';
import { WorldError } from '../worlds/world-error.js';
import { displayFor } from './display.js';
import { historyOf } from './history.js';
import { openModelWorld } from './model-world.js';
import { openNamespacesWorld } from './namespaces-world.js';
import { type DemoOptions, parseOptions } from './options.js';
import { Recorder } from './recorder.js';
import { runDemo } from './runner.js';
import { isClean, type Summary, summaryText } from './summary.js';

const NAME = 'demo';
/** The exit code that shells give to a process that SIGINT ended. */
const EXIT_INTERRUPTED = 130;

async function main(args: readonly string[]): Promise<number> {
  const options = parseOptions(args);
  // Root finds these tools here; the PATH of other users often lacks these folders.
  process.env.PATH = `${process.env.PATH ?? ''}:/usr/sbin:/sbin`;
  if (isInside(NAME)) return run(options, 'namespaces', undefined);
  if (options.world === 'model') return run(options, 'model', undefined);
  const verdict = await preflight();
  if (verdict.ok)
    return enterNamespaces({ name: NAME, url: import.meta.url, args, unshare: verdict.unshare });
  // On the model there is no process that SIGKILL could end.
  if (options.world === 'namespaces' || options.kills !== undefined || options.workers !== undefined)
    throw new WorldError(verdict.because);
  return run(options, 'model', verdict.because);
}

async function run(
  options: DemoOptions,
  kind: 'namespaces' | 'model',
  because: string | undefined,
): Promise<number> {
  const display = displayFor(options);
  if (because !== undefined) display.say(`on the model, since ${because}`);
  const recorder = new Recorder();
  const end = new AbortController();
  const interrupt = () => end.abort();
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt);
  const parts = { options, recorder, signal: end.signal, fail: (error: WorldError) => end.abort(error) };
  try {
    await using world = await (kind === 'model' ? openModelWorld(parts) : openNamespacesWorld(parts));
    const guests = options.guests === 1 ? '1 guest' : `${options.guests} guests`;
    display.say(`${guests}, payload ${options.payload}: ${world.about}`);
    const summary = await runDemo({ options, world, kind, because, recorder, display, signal: end.signal });
    if (end.signal.reason instanceof WorldError) throw end.signal.reason;
    const history =
      options.json && options.kills === undefined ? historyOf(recorder, options.seconds) : undefined;
    if (history !== undefined) process.stdout.write(`${JSON.stringify(history)}\n`);
    process.stdout.write(options.json ? `${JSON.stringify(summary)}\n` : `\n${summaryText(summary)}`);
    return exitCode(summary);
  } catch (error) {
    if (!end.signal.aborted) throw error;
    if (end.signal.reason instanceof WorldError) throw end.signal.reason;
    return EXIT_INTERRUPTED;
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
  }
}

function exitCode(summary: Summary): number {
  if (!isClean(summary)) return EXIT_FAILED;
  return summary.interrupted ? EXIT_INTERRUPTED : 0;
}

await runProgram(NAME, main);
