import { COPY, MAP, type Row } from '../row.js';
import type { Setting } from '../world/world.js';

/** Calls of the hypervisor's libraries that fail for a while, for the victim alone. */
function failing(name: string, setting: Setting, call: string, errno: string, more: Partial<Row> = {}): Row {
  return {
    name,
    kind: 'memory',
    setting,
    line: { cause: new RegExp(errno), remedy: /memory|tried again|tries again|limit/ },
    inject: ({ inject, victim }) => inject.xen(`${call}.${victim.plan.domid}`, errno),
    mend: ({ inject, victim }) => inject.xen(`${call}.${victim.plan.domid}`, undefined),
    ...more,
  };
}

export const memoryRows: readonly Row[] = [
  failing('grant copy from the guest: ENOMEM', COPY, 'gnttab_copy_from', 'ENOMEM', { short: true }),
  failing('grant copy to the guest: ENOMEM', COPY, 'gnttab_copy_to', 'ENOMEM'),
  failing('grant map of the guest\'s frames: ENOMEM', MAP, 'gnttab_map', 'ENOMEM'),
];
