import { FROM_GUEST_ARENA_BYTES } from '../../lib/netback/frames/batch-memory.js';
import { PAGE_SIZE } from '../../lib/xen/seam.js';
import { ip } from '../../worlds/processes/bridge.js';
import { COPY, MAP, NO_JOURNAL, type Row } from '../row.js';
import type { FaultWorld } from '../world/fault-world.js';

const MEMORY = /memory|tried again|tries again|limit/;

/** The size of a mapping that vifd makes and V8 does not. */
const ARENA = `anonymous-${Math.ceil(FROM_GUEST_ARENA_BYTES / PAGE_SIZE) * PAGE_SIZE}-`;

/** Calls of the hypervisor's libraries that fail for a while, for the victim alone. */
function set(call: string, fault: string) {
  return ({ inject, victim }: FaultWorld) => inject.xen(`${call}.${victim.plan.domid}`, fault);
}

function clear(call: string) {
  return ({ inject, victim }: FaultWorld) => inject.xen(`${call}.${victim.plan.domid}`, undefined);
}

/** Fails a call of a connection while frames move. */
function whileServing(name: string, call: string, errno: string, more: Partial<Row> = {}): Row {
  return {
    name,
    kind: 'memory',
    setting: COPY,
    line: { cause: new RegExp(errno), remedy: MEMORY },
    inject: set(call, errno),
    mend: clear(call),
    ...more,
  };
}

/** Fails a call while a guest connects. */
function whileAttaching(name: string, call: string, errno: string, more: Partial<Row> = {}): Row {
  return {
    ...whileServing(name, call, errno),
    inject: (world) => {
      set(call, errno)(world);
      return world.victim.reconnect();
    },
    ...more,
  };
}

export const memoryRows: readonly Row[] = [
  whileServing('grant copy from the guest: ENOMEM', 'gnttab_copy_from', 'ENOMEM', { short: true }),
  whileServing('grant copy to the guest: EAGAIN', 'gnttab_copy_to', 'EAGAIN'),
  whileServing('notifying the guest: ENOMEM', 'evtchn_notify', 'ENOMEM'),
  whileServing('unmasking an event channel: EIO', 'evtchn_unmask', 'EIO'),
  whileAttaching("mapping a guest's rings: ENOMEM", 'gnttab_map', 'ENOMEM'),
  whileAttaching('binding an event channel: EMFILE', 'evtchn_bind', 'EMFILE'),
  {
    ...whileAttaching("unmapping a guest's pages when it is gone: ENOMEM", 'gnttab_unmap', 'ENOMEM'),
    // An unmap names no domain. The neighbour's pages stay mapped meanwhile.
    inject: async ({ inject, victim }) => {
      await victim.kill();
      inject.xen('gnttab_unmap', 'ENOMEM');
      await victim.boot();
      return victim.published();
    },
    mend: ({ inject }) => inject.xen('gnttab_unmap', undefined),
  },
  whileAttaching('unbinding an event channel when its guest is gone: EIO', 'evtchn_unbind', 'EIO', {
    // The channels of a worker's connection have a handle of their own, whose end unbinds them.
    mendsItself: 'with workers',
  }),
  {
    name: 'receiving events: EIO',
    kind: 'memory',
    setting: COPY,
    line: { cause: /EIO/, remedy: MEMORY },
    inject: ({ inject }) => inject.xen('evtchn_pending', 'EIO'),
    mend: ({ inject }) => inject.xen('evtchn_pending', undefined),
  },
  whileServing("mapping the guest's frames: ENOMEM", 'gnttab_map_read', 'ENOMEM', { setting: MAP }),
  whileServing("mapping the guest's buffers: EAGAIN", 'gnttab_map_write', 'EAGAIN', { setting: MAP }),
  {
    name: 'an arena: ENOMEM',
    kind: 'memory',
    setting: NO_JOURNAL,
    line: { cause: /ENOMEM|Cannot allocate memory/, remedy: MEMORY },
    inject: ({ inject, victim }) => {
      inject.system('mmap', { errno: 'ENOMEM', match: ARENA });
      return victim.reconnect();
    },
    mend: ({ inject }) => inject.system('mmap', undefined),
  },
  {
    name: 'the program that bounds what waits in a tap: EPERM',
    kind: 'memory',
    setting: COPY,
    line: { names: 'no vif', cause: /program.*BPF_MAP_CREATE: EPERM/, remedy: /CAP_BPF/ },
    // vifd attaches the program when it makes a tap, so this row makes a new tap.
    inject: async ({ inject, victim }) => {
      inject.system('bpf', { errno: 'EPERM' });
      await ip('link', 'delete', victim.vif);
    },
    mend: ({ inject }) => inject.system('bpf', undefined),
  },
];
