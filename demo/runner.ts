import { machineMs, sleepUntil } from './clock.js';
import type { Comparison } from './comparison.js';
import type { Display } from './display.js';
import type { DemoOptions } from './options.js';
import type { Ending, Recorder } from './recorder.js';
import { type Summary, summarize } from './summary.js';
import type { World } from './world.js';

const RESTART_EVERY_MS = 1000;
/**
 * Restarts come a little before or after the full second. TCP retransmits after 200, 600, 1400, 3000 ms, and with an exact interval the
 * backend could be away each time.
 */
const OFFBEAT_MS = [0, 130, -90, 60, -140, 100, -40];
/** The first seconds are undisturbed, to compare the gaps with. */
const QUIET_MS = 1000;
/** The last seconds are undisturbed, so that the last restart's gap is over. */
const TAIL_MS = 700;

const PAYLOADS = ['map', 'copy'] as const;
const SHORT_SHARE = 0.1;
const SHORT_RUN_MS = 50;
const RUN_MS_MIN = 300;
const RUN_MS_MAX = 1000;

export interface RunParts {
  readonly options: DemoOptions;
  readonly world: World;
  readonly kind: 'namespaces' | 'model';
  readonly because: string | undefined;
  readonly recorder: Recorder;
  readonly display: Display;
  /** Aborted when the user ends the demo. */
  readonly signal: AbortSignal;
}

/** The demo, from the first byte to the summary. */
export async function runDemo(parts: RunParts): Promise<Summary> {
  const { options, world, recorder, display, signal } = parts;
  recorder.begin();
  display.begin(recorder);
  let comparison: Comparison | undefined;
  try {
    await (options.kills === undefined ? restartEverySecond(parts) : killAtRandom(parts, options.kills));
    if (!signal.aborted) await world.finish();
  } finally {
    display.end();
  }
  const broken = recorder.resets > 0 || recorder.violations > 0;
  const compares = options.kills === undefined && !signal.aborted && !broken;
  if (compares && world.compare !== undefined) {
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
    // A restart that took longer than a second does not make the next ones come in a burst.
    nextMs = Math.max(nextMs + RESTART_EVERY_MS, machineMs());
  }
  await sleepUntil(endMs, signal);
}

/** Kills as often as was asked for, or until a guest is disconnected: later kills would prove nothing. */
async function killAtRandom({ world, recorder, signal }: RunParts, kills: number): Promise<void> {
  await sleepUntil(machineMs() + QUIET_MS, signal);
  for (let kill = 0; kill < kills && !signal.aborted; kill++) {
    await sleepUntil(machineMs() + runMs(), signal);
    if (signal.aborted || recorder.resets > 0 || recorder.violations > 0) return;
    const restart = recorder.restarting('SIGKILL');
    await world.restart('SIGKILL', PAYLOADS[kill % PAYLOADS.length]);
    restart.attachMs = machineMs() - restart.atMs;
  }
  await sleepUntil(machineMs() + QUIET_MS, signal);
}

/**
 * One process in ten is killed while it attaches and replays its journal. The others run until TCP has recovered. While no backend runs, no
 * process has the tap open, so frames of the host are lost. With a kill every 350 ms, a sender that doubles its retransmission timer at each
 * loss would never send in time.
 */
function runMs(): number {
  if (Math.random() < SHORT_SHARE) return SHORT_RUN_MS * Math.random();
  return RUN_MS_MIN + (RUN_MS_MAX - RUN_MS_MIN) * Math.random();
}
