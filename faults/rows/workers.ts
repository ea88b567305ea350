import { readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { LINK_DESCRIPTOR } from '../../lib/workers/worker-process.js';
import { ip } from '../../worlds/processes/bridge.js';
import { until } from '../../worlds/processes/until.js';
import { type Row, WORKERS } from '../row.js';
import type { FaultWorld, Setting } from '../world/fault-world.js';
import { descriptorsAgain, noMoreDescriptors } from '../world/limits.js';

const kind = 'workers';
const setting = WORKERS;
/** A world of its own: a third worker that hangs within a minute would raise the suspicion that the victim's vif is the cause. */
const SILENT: Setting = { ...WORKERS, name: 'workers that are silent' };
/** The supervisor kills a worker whose event loop is silent for a second, and looks four times a second. */
const HANG_MS = 3000;
/** A worker that ends is replaced, and the next standby has warmed up. */
const REPLACED_MS = 1500;
/** Within this time the supervisor notices a hang, and kills the worker. */
const NOTICED_MS = 1000;
/** How the start of a process fails. */
const STARTS: readonly (readonly [call: string, errno: string])[] = [
  ['fork', 'ENOMEM'],
  ['fork', 'EAGAIN'],
  ['execvp', 'EACCES'],
];

const STOPPED_MS = 500;
/** The victim's worker before a row began. */
let pid = 0;

/** From now on the victim's worker can send nothing to its supervisor. */
async function fillLink(world: FaultWorld): Promise<void> {
  pid = await world.workerOf(world.victim);
  const match = readlinkSync(`/proc/${pid}/fd/${LINK_DESCRIPTOR}`);
  world.inject.system('sendmsg', { errno: 'ENOBUFS', match });
}

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
  // Before other rows that kill the standby: the more of them end, the later is the next one started.
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
  {
    name: "the victim's worker is stopped for half a second",
    kind,
    setting,
    line: 'nothing to report',
    inject: async (world) => {
      pid = await world.workerOf(world.victim);
      process.kill(pid, 'SIGSTOP');
    },
    lastsMs: 500,
    mend: async (world) => {
      process.kill(pid, 'SIGCONT');
      if ((await world.workerOf(world.victim)) !== pid) throw new Error('another worker serves the guest');
    },
  },
  {
    name: "the victim's worker hangs and cannot be killed",
    kind,
    setting: SILENT,
    line: { names: 'no vif', cause: /was killed and does not end/, remedy: /dmesg/ },
    mended: /has taken vif7\.0 over/,
    inject: async (world) => {
      pid = await world.workerOf(world.victim);
      world.inject.system('kill', { errno: 'EIO', match: 'signal-9-' });
      process.kill(pid, 'SIGSTOP');
      return Date.now() + NOTICED_MS;
    },
    mend: async ({ inject }) => {
      inject.system('kill', undefined);
      process.kill(pid, 'SIGKILL');
      await sleep(REPLACED_MS);
    },
  },
  {
    name: "the link of the victim's worker takes nothing for half a second: ENOBUFS",
    kind,
    setting,
    line: 'nothing to report',
    lastsMs: 500,
    inject: fillLink,
    mend: async (world) => {
      world.inject.system('sendmsg', undefined);
      if ((await world.workerOf(world.victim)) !== pid) throw new Error('another worker serves the guest');
    },
  },
  dying("the link of the victim's worker takes nothing: ENOBUFS", 'SIGKILL', {
    setting: SILENT,
    line: { cause: /its event loop has not run/, remedy: /it served/ },
    inject: async (world) => {
      await fillLink(world);
      await until(() => !world.workers.includes(pid), HANG_MS);
    },
    mend: ({ inject }) => inject.system('sendmsg', undefined),
  }),
  dying("the victim's worker is killed, and the tap is deleted", 'SIGKILL', {
    // The next worker may find the tap deleted as it begins: then it makes the tap anew, as at each start.
    inject: async (world) => {
      process.kill(await world.workerOf(world.victim), 'SIGKILL');
      await ip('link', 'delete', world.victim.vif);
    },
  }),
  {
    ...dying("the victim's worker is killed while xenstored is away", 'SIGKILL'),
    loads: true,
    inject: async (world) => {
      const { nodes } = await world.xenstored.state();
      world.removed = nodes;
      pid = await world.workerOf(world.victim);
      await world.xenstored.kill();
      process.kill(pid, 'SIGKILL');
    },
    mend: ({ xenstored, removed }) => xenstored.start(removed),
  },
  dying('the standby is killed, and the next worker before there is another one', 'SIGKILL', {
    inject: async (world) => {
      process.kill(await world.standby(), 'SIGKILL');
      process.kill(await world.workerOf(world.victim), 'SIGKILL');
    },
  }),
  {
    name: 'the standby is killed',
    kind,
    setting,
    line: { names: 'no vif', cause: /died \(SIGKILL\)/, remedy: /it served no vif/ },
    mended: /started, as the standby/,
    mendsItself: true,
    lastsMs: REPLACED_MS,
    inject: async (world) => process.kill(await world.standby(), 'SIGKILL') && undefined,
    mend: () => undefined,
  },
  ...STARTS.map(
    ([call, errno]): Row => ({
      name: `the standby takes over, and another one cannot be started: ${call}, ${errno}`,
      kind,
      setting,
      line: { names: 'no vif', cause: new RegExp(`no standby.*${errno}`), remedy: /tries again/ },
      inject: async (world) => {
        pid = await world.workerOf(world.victim);
        world.inject.system(call, { errno });
        process.kill(pid, 'SIGKILL');
      },
      mend: async ({ inject }) => {
        inject.system(call, undefined);
        await sleep(REPLACED_MS);
      },
    }),
  ),
  {
    name: "the victim's worker is killed, and there is no memory for the next one: ENOMEM",
    kind,
    setting,
    line: { cause: /ENOMEM/, remedy: /tries again/ },
    inject: async (world) => {
      world.inject.system('fork', { errno: 'ENOMEM' });
      process.kill(await world.standby(), 'SIGKILL');
      process.kill(await world.workerOf(world.victim), 'SIGKILL');
    },
    mend: async ({ inject }) => {
      inject.system('fork', undefined);
      await sleep(REPLACED_MS);
    },
  },
  {
    ...dying("the victim's worker is killed while the supervisor is stopped", 'SIGKILL'),
    // From the supervisor's end of the stop on: before that it can log nothing.
    inject: async (world) => {
      world.daemon.signal('SIGSTOP');
      process.kill(await world.workerOf(world.victim), 'SIGKILL');
      await sleep(STOPPED_MS);
      world.daemon.signal('SIGCONT');
    },
  },
  {
    name: 'the supervisor is stopped for 2 s (SIGSTOP)',
    kind,
    setting,
    line: 'nothing to report',
    inject: async (world) => {
      world.daemon.signal('SIGSTOP');
      const served = await world.victim.pings.servedAfter(Date.now(), NOTICED_MS);
      if (served === undefined) throw new Error('the guest is not served while the supervisor is stopped');
    },
    lastsMs: 2000,
    mend: ({ daemon }) => daemon.signal('SIGCONT'),
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
