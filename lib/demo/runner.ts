import { machineMs, sleepUntil } from './clock.js';
import type { Display } from './display.js';
import type { Recorder } from './recorder.js';
import { type Summary, summarize } from './summary.js';
import type { Comparison, DemoOptions, Ending, World } from './types.js';

const RESTART_EVERY_MS = 1000;
/**
 * Restarts come a little before or after the full second: TCP tries again after 200, 600, 1400, 3000 ms, and a strict
 * beat could meet each of these with the backend away.
 */
const OFFBEAT_MS = [0, 130, -90, 60, -140, 100, -40];
/** Undisturbed at first: what the gaps have to be compared with. */
const QUIET_MS = 1000;
/** Before the end, so that the last restart's gap is over. */
const TAIL_MS = 700;

export interface RunParts {
  readonly options: DemoOptions;
  readonly world: World;
  readonly kind: 'namespaces' | 'model';
  readonly because: string | undefined;
  readonly recorder: Recorder;
  readonly display: Display;
  /** Aborted when people want it to end. */
  readonly signal: AbortSignal;
}

/** The demo, from the first byte to the summary. */
export async function runDemo(parts: RunParts): Promise<Summary> {
  const { options, world, recorder, display, signal } = parts;
  recorder.begin();
  display.begin(recorder);
  let comparison: Comparison | undefined;
  try {
    await restartEverySecond(parts);
    if (!signal.aborted) await world.finish();
  } finally {
    display.end();
  }
  const broken = recorder.resets > 0 || recorder.violations > 0;
  if (!signal.aborted && !broken && world.compare !== undefined) {
    display.say('no restarts now: iperf3 through vifd and without it, 3 s each');
    comparison = await world.compare();
  }
  return summarize(recorder, {
    options,
    world: parts.kind,
    because: parts.because,
    interrupted: signal.aborted,
    comparison,
  });
}

async function restartEverySecond({ options, world, recorder, signal }: RunParts): Promise<void> {
  const endMs = machineMs() + options.seconds * 1000;
  let nextMs = machineMs() + QUIET_MS;
  for (let turn = 0; nextMs <= endMs - TAIL_MS && !signal.aborted; turn++) {
    await sleepUntil(nextMs + (OFFBEAT_MS[turn % OFFBEAT_MS.length] ?? 0), signal);
    if (signal.aborted) return;
    const ending: Ending = turn % 2 === 0 ? 'SIGTERM' : 'SIGKILL';
    const restart = recorder.restarting(ending);
    await world.restart(ending);
    restart.attachMs = machineMs() - restart.atMs;
    // One that took longer than a second does not make the next ones come in a burst.
    nextMs = Math.max(nextMs + RESTART_EVERY_MS, machineMs());
  }
  await sleepUntil(endMs, signal);
}
