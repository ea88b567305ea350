import { COPY, type Row } from '../row.js';
import type { FaultWorld } from '../world/fault-world.js';
import type { Refusal } from '../world/store-messages.js';

const kind = 'store';
const setting = COPY;
const NO_VIF = 'no vif';
const AGAIN = /tried again|tries again|start xenstored/;
const RIGHTS = /xenstore-chmod/;

/** The store refuses a request of vifd alone while the victim's guest connects anew. */
function refused(name: string, refusal: Refusal, line: Row['line'], more: Partial<Row> = {}): Row {
  return {
    name,
    kind,
    setting,
    line,
    inject: async ({ xenstored, victim }) => {
      await victim.kill();
      await xenstored.refuse(refusal);
      const beganMs = Date.now();
      await victim.boot();
      return Math.max(beganMs, Date.now());
    },
    mend: ({ xenstored }) => xenstored.refuse(undefined),
    ...more,
  };
}

/** The toolstack's write into the victim's backend node. */
function set({ victim, toolstack }: FaultWorld, key: string, value: string): Promise<void> {
  return toolstack.write(`${victim.backendPath}/${key}`, value);
}

function unset({ victim, toolstack }: FaultWorld, key: string): Promise<void> {
  return toolstack.rm(`${victim.backendPath}/${key}`);
}

export const storeRows: readonly Row[] = [
  {
    name: 'xenstored killed, and started with its contents',
    kind,
    setting,
    loads: true,
    line: { names: NO_VIF, cause: /xenstored.*lost/, remedy: AGAIN },
    inject: async (world) => {
      const { nodes } = await world.xenstored.state();
      world.removed = nodes;
      await world.xenstored.kill();
    },
    mend: ({ xenstored, removed }) => xenstored.start(removed),
    short: true,
  },
  {
    name: 'xenstored comes back without the vif',
    kind,
    setting,
    loads: true,
    line: { cause: /without its node/, remedy: /vifd detach vif7\.0/ },
    inject: async (world) => {
      const { nodes } = await world.xenstored.state();
      world.removed = nodes.filter(({ path }) => /\/vif\/7(\/|$)|\/domain\/7(\/|$)/.test(path));
      await world.xenstored.kill();
      // A driver that finds its node gone may end, which is not the subject of this row.
      await world.xenstored.start(
        nodes.filter((node) => !world.removed.includes(node)),
        false,
      );
    },
    mend: async ({ xenstored, removed }) => {
      await xenstored.write(removed);
      await xenstored.letGuestsIn();
    },
  },
  {
    name: 'xenstored stopped for 3 s (SIGSTOP)',
    kind,
    setting,
    loads: true,
    line: { names: NO_VIF, cause: /not responded/, remedy: AGAIN },
    lastsMs: 3000,
    inject: ({ xenstored }) => xenstored.pause(),
    mend: ({ xenstored }) => xenstored.resume(),
  },
  refused(
    'xenstored commits nothing: EAGAIN',
    { errno: 'EAGAIN', path: '', types: ['end'] },
    { cause: /EAGAIN/, remedy: /end what writes there/ },
  ),
  refused(
    'xenstored takes no node: ENOSPC',
    { errno: 'ENOSPC', path: '/backend/vif/7/', types: ['write'] },
    { cause: /ENOSPC/, remedy: /quota|space/ },
  ),
  refused(
    'xenstored begins no transaction: ENOSPC',
    { errno: 'ENOSPC', path: '', types: ['begin'] },
    { cause: /ENOSPC/, remedy: /quota|transactions/ },
  ),
  refused(
    "the guest's nodes cannot be read: EACCES",
    { errno: 'EACCES', path: '/domain/7/device/vif/0/(tx-ring-ref|event-channel|queue-0)', types: ['read'] },
    { cause: /EACCES/, remedy: RIGHTS },
    {
      inject: async ({ xenstored, victim }) => {
        await xenstored.refuse({
          errno: 'EACCES',
          path: '/domain/7/device/vif/0/(tx-ring-ref|event-channel|queue-0)',
          types: ['read'],
        });
        return victim.reconnect();
      },
    },
  ),
  {
    name: 'a new vif cannot be watched: E2BIG',
    kind,
    setting,
    line: { cause: /E2BIG/, remedy: /quota|watches/ },
    inject: async ({ xenstored, victim }) => {
      await victim.unplug();
      await xenstored.refuse({ errno: 'E2BIG', path: '/7/', types: ['watch'] });
      return victim.plug();
    },
    mend: ({ xenstored }) => xenstored.refuse(undefined),
  },
  {
    name: 'vifs cannot be listed when xenstored is back: EACCES',
    kind,
    setting,
    loads: true,
    line: { names: NO_VIF, cause: /listed.*EACCES/, remedy: RIGHTS },
    inject: async ({ xenstored }) => {
      const { nodes } = await xenstored.state();
      await xenstored.kill();
      await xenstored.start(nodes, true, { errno: 'EACCES', path: '/backend/vif$', types: ['list'] });
    },
    mend: ({ xenstored }) => xenstored.refuse(undefined),
  },
  {
    name: "a new vif's node cannot be read: EIO",
    kind,
    setting,
    line: { cause: /EIO/, remedy: /look at its log/ },
    inject: async ({ xenstored, victim }) => {
      await victim.unplug();
      await xenstored.refuse({ errno: 'EIO', path: '/backend/vif/7/0/(frontend|mac)', types: ['read'] });
      return victim.plug();
    },
    mend: ({ xenstored }) => xenstored.refuse(undefined),
  },
  {
    name: 'vifd starts with a store that has lost a guest that runs',
    kind,
    setting,
    loads: true,
    line: { cause: /xenstored has lost its node/, remedy: /written again/ },
    mended: /vif7\.0 attached again/,
    inject: async (world) => {
      const { nodes } = await world.xenstored.state();
      world.removed = nodes.filter(({ path }) => /\/vif\/7(\/|$)|\/domain\/7(\/|$)/.test(path));
      await world.xenstored.kill();
      await world.xenstored.start(
        nodes.filter((node) => !world.removed.includes(node)),
        false,
      );
      return world.restartDaemon();
    },
    mend: async ({ xenstored, removed }) => {
      await xenstored.write(removed);
      await xenstored.letGuestsIn();
    },
  },
  {
    name: 'hotplug-error written',
    kind,
    setting,
    line: { cause: /hotplug script failed: 'no such bridge'/, remedy: /log|script|again/ },
    inject: async (world) => {
      await set(world, 'hotplug-error', 'no such bridge');
      await set(world, 'hotplug-status', 'error');
    },
    mend: async (world) => {
      for (const key of ['hotplug-status', 'hotplug-error']) await unset(world, key);
    },
  },
  {
    name: 'a rate that is none',
    kind,
    setting,
    line: { cause: /rate.*much/, remedy: /bytes|write/ },
    inject: (world) => set(world, 'rate', 'as much as you like'),
    mend: (world) => unset(world, 'rate'),
  },
  {
    name: "the vif's node removed, and made again",
    kind,
    setting,
    // The toolstack removes a vif at once in this way, so there is nothing to remedy. The guest sees the change too, and may end its grants before
    // vifd reads the store; then vifd gives that reason for the detach.
    line: { cause: /detached: guest-gone|stopped until its guest connects/, remedy: /./ },
    mended: /vif7\.0 attached/,
    inject: ({ toolstack, victim }) => toolstack.rm(victim.backendPath),
    mend: async ({ victim }) => {
      await victim.kill();
      await victim.plug();
    },
  },
  {
    name: "the node above the vif's removed, and made again",
    kind,
    setting,
    // As above.
    line: { cause: /detached: guest-gone|stopped until its guest connects/, remedy: /./ },
    mended: /vif7\.0 attached/,
    inject: ({ toolstack }) => toolstack.rm('/local/domain/0/backend/vif/7'),
    mend: async ({ victim }) => {
      await victim.kill();
      await victim.plug();
    },
  },
];
