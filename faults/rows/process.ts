import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Daemon } from '../../worlds/processes/daemon.js';
import { COPY, type Row } from '../row.js';

const kind = 'process';
const setting = COPY;
const LISTENS_AFTER_MS = 1000;
const DAY_MS = 86_400_000;

let second: Daemon | undefined;

export const processRows: readonly Row[] = [
  {
    name: "the service manager's socket is gone",
    kind,
    setting,
    line: { names: 'no vif', cause: /service manager/, remedy: /NOTIFY_SOCKET/ },
    inject: (world) => world.stopManager(),
    mend: (world) => world.startManager(),
    short: true,
  },
  {
    name: 'the run lock cannot be had at start: ENOSPC',
    kind,
    setting,
    restarts: true,
    line: { names: 'no vif', cause: /ENOSPC/, remedy: /space|room|--journal/ },
    inject: async (world) => {
      world.inject.system('open', { errno: 'ENOSPC', match: 'vifd/lock' });
      return world.restartDaemon();
    },
    mend: ({ inject }) => inject.system('open', undefined),
  },
  {
    name: 'the query socket cannot be made: EMFILE',
    kind,
    setting,
    restarts: true,
    line: { names: 'no vif', cause: /listened at \(EMFILE\)/, remedy: /LimitNOFILE|ulimit|descriptors/ },
    inject: async (world) => {
      await world.restartDaemon();
      world.inject.system('socket', { errno: 'EMFILE', match: 'family-1-' });
      // vifd listens from a second after its start on.
      await sleep(LISTENS_AFTER_MS);
    },
    mend: ({ inject }) => inject.system('socket', undefined),
  },
  {
    name: 'the date jumps a day forward',
    kind,
    setting,
    line: 'nothing to report',
    inject: ({ inject }) => inject.system('clock', { delayMs: DAY_MS }),
    mend: ({ inject }) => inject.system('clock', undefined),
  },
  {
    name: 'the date jumps ten days back',
    kind,
    setting,
    line: 'nothing to report',
    inject: ({ inject }) => inject.system('clock', { delayMs: -10 * DAY_MS }),
    mend: ({ inject }) => inject.system('clock', undefined),
  },
  {
    name: 'a second vifd with the same runtime directory',
    kind,
    setting,
    line: { names: 'no vif', cause: /Another vifd/, remedy: /end it first/ },
    mended: 'not logged',
    inject: async (world) => {
      second = await world.spawnDaemon(world.journals);
      await second.ended;
    },
    mend: () => second?.kill(),
  },
  {
    name: 'a second vifd with another runtime directory',
    kind,
    setting,
    line: { cause: /another|EBUSY/i, remedy: /end|process/ },
    mended: 'not logged',
    inject: async (world) => {
      second = await world.spawnDaemon(join(world.runtime, 'second'));
      await second.ready();
    },
    lastsMs: 1000,
    mend: () => second?.stop(),
  },
];
