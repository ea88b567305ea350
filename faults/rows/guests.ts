import type { Child } from '../../lib/demo/children.js';
import { COPY, type Row } from '../row.js';

const kind = 'guests';
const setting = COPY;

let guest: Child | undefined;

/** A guest that breaks the protocol: its vif alone stops, until a guest connects anew. */
function misbehaving(name: string, mode: string, line: Row['line'], more: Partial<Row> = {}): Row {
  return {
    name,
    kind,
    setting,
    line,
    mended: /vif7\.0 attached/,
    inject: async (world) => {
      await world.victim.kill();
      guest = await world.misbehave(mode);
    },
    mend: async ({ victim }) => {
      await guest?.end('SIGKILL');
      await victim.boot();
    },
    ...more,
  };
}

const RECONNECT = /connects again|reconnect/;

export const guestRows: readonly Row[] = [
  misbehaving(
    'guest: bad grant reference',
    'bad-grant',
    { cause: /bad grant reference/, remedy: RECONNECT },
    { short: true },
  ),
  misbehaving('guest: requests beyond the ring', 'beyond', { cause: /10000|ring/, remedy: RECONNECT }),
  misbehaving('guest: a ring that is not granted', 'no-ring', { cause: /60000/, remedy: RECONNECT }),
  misbehaving('guest: a line break in the handshake', 'newline', {
    cause: /tx-ring-ref is .*\\n/,
    remedy: RECONNECT,
  }),
  misbehaving('guest: 100 changes of state', 'toggle', 'nothing to report'),
  misbehaving('guest: as many nodes as it may have', 'flood', 'nothing to report', {
    tidy: async ({ toolstack, victim: { frontendPath } }) => {
      const notes = (await toolstack.list(frontendPath)).filter((key) => key.startsWith('note-'));
      for (const note of notes) await toolstack.rm(`${frontendPath}/${note}`);
    },
  }),
  {
    name: 'guest killed, and back',
    kind,
    setting,
    line: 'nothing to report',
    inject: ({ victim }) => victim.kill(),
    mend: ({ victim }) => victim.boot(),
  },
  {
    name: 'guest: a state that is none',
    kind,
    setting,
    line: { cause: /state.*(banana|unknown)/i, remedy: RECONNECT },
    mended: /vif7\.0 attached/,
    inject: ({ victim }) => victim.write('state', 'banana'),
    mend: async ({ victim }) => {
      await victim.kill();
      await victim.boot();
    },
  },
];
