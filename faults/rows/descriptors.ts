import { ip } from '../../worlds/processes/bridge.js';
import { COPY, type Row } from '../row.js';
import { descriptorsAgain, noMoreDescriptors } from '../world/limits.js';

const kind = 'descriptors';
const setting = COPY;
const LIMIT = /LimitNOFILE|ulimit|descriptors/;

export const descriptorRows: readonly Row[] = [
  {
    name: "a new vif's tap cannot be opened: EMFILE",
    kind,
    setting,
    line: { cause: /EMFILE/, remedy: LIMIT },
    inject: async ({ victim, daemon }) => {
      await victim.unplug();
      await noMoreDescriptors(daemon.pid);
      return victim.plug();
    },
    mend: ({ daemon }) => descriptorsAgain(daemon.pid),
    short: true,
  },
  {
    name: 'a deleted tap cannot be made again: ENFILE',
    kind,
    setting,
    line: { cause: /ENFILE/, remedy: /file-max|descriptors/ },
    inject: async ({ victim, inject }) => {
      inject.system('open', { errno: 'ENFILE', match: 'net/tun' });
      await ip('link', 'delete', victim.vif);
    },
    mend: ({ inject }) => inject.system('open', undefined),
  },
  {
    name: 'no socket for xenstored when it is back: EMFILE',
    kind,
    setting,
    loads: true,
    line: { names: 'no vif', cause: /EMFILE/, remedy: LIMIT },
    inject: async ({ xenstored, inject }) => {
      const { nodes } = await xenstored.state();
      await xenstored.kill();
      inject.system('socket', { errno: 'EMFILE', match: 'family-1-' });
      await xenstored.start(nodes);
    },
    mend: ({ inject }) => inject.system('socket', undefined),
  },
  {
    name: 'a journal cannot be opened: EMFILE',
    kind,
    setting,
    line: { cause: /journal.*EMFILE/, remedy: LIMIT },
    inject: ({ inject, victim }) => {
      inject.system('open', { errno: 'EMFILE', match: '.journal' });
      return victim.reconnect();
    },
    mend: ({ inject }) => inject.system('open', undefined),
  },
];
