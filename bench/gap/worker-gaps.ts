import { setTimeout as sleep } from 'node:timers/promises';
import { openXen } from '../../lib/xen/native/open.js';
import { XENSIM_LIBRARIES } from '../../worlds/places.js';
import { ip, makeBridge } from '../../worlds/processes/bridge.js';
import { BRIDGE } from '../../worlds/processes/bridged-world.js';
import { ownMounts, ProcessWorld } from '../../worlds/processes/process-world.js';
import { until } from '../../worlds/processes/until.js';
import { createVifs, ProbedVifs } from './probed-vifs.js';
import { bareStartMs } from './processes.js';
import { SupervisedVifd } from './supervised-vifd.js';
import { prepare, strike, type WorkerFault } from './worker-faults.js';

/** What the deaths of one kind did: each list has an entry for each round. */
export interface WorkerGaps {
  readonly fault: WorkerFault;
  readonly vifs: number;
  readonly fromGuestMs: number[];
  readonly toGuestMs: number[];
  /** From the supervisor's notice of the death until all vifs were served. */
  readonly noticedMs: number[];
  /** Node's own start, measured before each death. */
  readonly bareStartMs: number[];
  violations: number;
}

export interface WorkerGapOptions {
  readonly kills: number;
  readonly payload: string;
  readonly faults: readonly WorkerFault[];
  readonly vifs: number;
}

const DOMID = 7;
/** A standby warms up from 200 ms after its start on, which takes 100 ms of a processor. */
const WARM_MS = 600;
const SPREAD_MS = 100;
/** The second of two deaths within a second comes so long after the first take-over. */
const AGAIN_MS = 200;
/** When the take-over is logged, frames flow; the last probes of a silence come a little later. */
const FLOW_MS = 20;
/** 32 vifs connect one after the other, on a host that may be busy. */
const PATIENT_MS = 30_000;
/** After a third one within a minute the supervisor would serve the vifs in other ways. */
const SUSPICIOUS_MAX = 2;

class GapWorld extends ProcessWorld {
  static async open(): Promise<GapWorld> {
    await ownMounts();
    const world = new GapWorld('gap');
    try {
      await ip('link', 'set', 'lo', 'up');
      await makeBridge(BRIDGE);
      world.onEnd(() => ip('link', 'delete', BRIDGE.name));
      // In a process of its own: this one is busy with probes.
      await world.startStore([0, DOMID]);
      return world;
    } catch (error) {
      await world[Symbol.asyncDispose]();
      throw error;
    }
  }
}

/** Has a worker die in each way, in turns, and measures how long its guests hear nothing. */
export async function measureWorkerGaps(options: WorkerGapOptions): Promise<WorkerGaps[]> {
  const { faults, kills, payload, vifs: count } = options;
  await using world = await GapWorld.open();
  await createVifs(world.toolstack, DOMID, count);
  Object.assign(process.env, world.environment(DOMID));
  const storePath = world.socket(DOMID);
  await using xen = await openXen({ domid: DOMID, libraries: XENSIM_LIBRARIES, storePath });
  await using vifd = new SupervisedVifd(world, ['--payload', payload]);
  await vifd.start();
  await using vifs = await ProbedVifs.connect(xen, DOMID, count);
  const all = faults.map((fault): WorkerGaps => {
    const lists = { fromGuestMs: [], toGuestMs: [], noticedMs: [], bareStartMs: [] };
    return { fault, vifs: count, ...lists, violations: 0 };
  });
  for (let kill = 0; kill < kills; kill++) for (const gaps of all) await round(gaps, vifd, vifs);
  return all;
}

async function round(gaps: WorkerGaps, vifd: SupervisedVifd, vifs: ProbedVifs): Promise<void> {
  const { fault } = gaps;
  const violations = vifs.violations;
  if (fault.suspicious && vifd.suspicious === SUSPICIOUS_MAX) await vifd.restart();
  if (fault.suspicious) vifd.suspicious += 1;
  const bareMs = await bareStartMs();
  await flow(vifs, performance.now());
  await sleep(WARM_MS + SPREAD_MS * Math.random());
  const standbys = vifd.standbys;
  await prepare(fault, vifd.pid, vifd.faultFile);
  vifs.begin();
  let noticedMs = 0;
  for (let death = 0; death < fault.deaths; death++) {
    if (death > 0) await sleep(AGAIN_MS);
    const takeOvers = vifd.takeOvers;
    strike(fault, vifd.pid);
    const taken = await vifd.takeOver(takeOvers, gaps.vifs);
    noticedMs = Math.max(noticedMs, taken.gapMs);
    await flow(vifs, taken.atMs);
  }
  const { fromGuest, toGuest } = vifs.longestMs();
  gaps.fromGuestMs.push(fromGuest);
  gaps.toGuestMs.push(toGuest);
  gaps.noticedMs.push(noticedMs);
  gaps.bareStartMs.push(bareMs);
  await vifd.hasStandby(standbys + 1);
  gaps.violations += vifs.violations - violations;
}

/** Resolves when frames of all vifs pass in both directions. */
async function flow(vifs: ProbedVifs, sinceMs: number): Promise<void> {
  let silent: string[] = [];
  const flows = () => {
    silent = vifs.silentSince(sinceMs + FLOW_MS);
    return silent.length === 0;
  };
  if (!(await until(flows, PATIENT_MS)))
    throw new Error(`no frames for ${PATIENT_MS / 1000} s: ${silent.join(', ')}`);
}
