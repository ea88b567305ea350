import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../../worlds/processes/until.js';
import { type Row, WORKERS } from '../row.js';
import type { FaultWorld } from '../world/fault-world.js';
import { descriptorsAgain, noMoreDescriptors } from '../world/limits.js';

const kind = 'workers';
const setting = WORKERS;
/** The supervisor kills a worker whose event loop is silent for a second, and looks four times a second. */
const HANG_MS = 3000;
/** A worker that ends is replaced, and the next standby has warmed up. */
const REPLACED_MS = 1500;

/** The victim's worker ends or hangs, and the standby takes over. */
function dying(name: string, signal: NodeJS.Signals, more: Partial<Row> = {}): Row {
  return {
    name,
    kind,
    setting,
    line: { cause: new RegExp(`died \\(${signal}`), remedy: /it served/ },
    // Not a fault that ends: the vif is served by another process.
    mended: /has taken vif7\.0 over/,
    mendsItself: true,
    lastsMs: REPLACED_MS,
    inject: async (world) => {
      process.kill(await world.workerOf(world.victim), signal);
    },
    mend: () => undefined,
    ...more,
  };
}

export const workerRows: readonly Row[] = [
  dying("the victim's worker is killed", 'SIGKILL', { short: true }),
  dying("the victim's worker crashes", 'SIGSEGV'),
  dying("the victim's worker hangs", 'SIGKILL', {
    line: { cause: /its event loop has not run/, remedy: /it served/ },
    inject: async (world) => {
      const pid = await world.workerOf(world.victim);
      process.kill(pid, 'SIGSTOP');
      // The line comes when the supervisor notices.
      await until(() => !world.workers.includes(pid), HANG_MS);
    },
  }),
  {
    name: 'the standby ends, and another one cannot be started: EMFILE',
    kind,
    setting,
    line: { names: 'no vif', cause: /no standby.*EMFILE/, remedy: /LimitNOFILE|ulimit|descriptors/ },
    inject: async (world: FaultWorld) => {
      const standby = await world.standby();
      await noMoreDescriptors(world.daemon.pid);
      process.kill(standby, 'SIGKILL');
    },
    mend: async ({ daemon }) => {
      await descriptorsAgain(daemon.pid);
      await sleep(REPLACED_MS);
    },
  },
  // The last one: of workers that another supervisor has started it has no pidfd, and one more for each that is replaced.
  {
    name: 'the supervisor is killed',
    kind,
    setting,
    restarts: true,
    line: 'nothing to report',
    // Workers continue, and the next supervisor finds them.
    inject: ({ daemon }) => daemon.kill(),
    mend: async (world) => {
      await world.startDaemon();
      await world.daemon.ready();
    },
    lastsMs: 1000,
  },
];
