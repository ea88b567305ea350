import { COPY, type Row } from '../row.js';
import { ip } from '../world/host.js';
import { VICTIM_BRIDGE } from '../world/world.js';

export const linkRows: readonly Row[] = [
  {
    name: 'tap deleted',
    kind: 'links',
    setting: COPY,
    line: { cause: /deleted|gone/, remedy: /made anew|tried again|tries again/ },
    inject: async ({ victim }) => void (await ip('link', 'delete', victim.vif)),
    mend: () => undefined,
    short: true,
  },
  {
    name: 'tap set down',
    kind: 'links',
    setting: COPY,
    line: { cause: /down/, remedy: /ip link set vif7\.0 up/ },
    inject: async ({ victim }) => void (await ip('link', 'set', victim.vif, 'down')),
    mend: async ({ victim }) => void (await ip('link', 'set', victim.vif, 'up')),
  },
  {
    name: 'tap taken out of its bridge',
    kind: 'links',
    setting: COPY,
    line: { cause: /bridge/, remedy: /ip link set vif7\.0 master br0/ },
    inject: async ({ victim }) => void (await ip('link', 'set', victim.vif, 'nomaster')),
    mend: async ({ victim }) => void (await ip('link', 'set', victim.vif, 'master', VICTIM_BRIDGE.name)),
  },
];
