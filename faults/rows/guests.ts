import type { Child } from '../../worlds/processes/children.js';
import { until } from '../../worlds/processes/until.js';
import { COPY, type Row } from '../row.js';

const kind = 'guests';
const setting = COPY;
/** The guest's buffers last for a while, and then vifd waits for a minute. */
const STALL_MS = 100_000;

let guest: Child | undefined;

/** A guest that breaks the protocol: vifd stops only its vif, until a guest connects anew. */
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
    tidy: async ({ toolstack, victim }) => {
      const names = await toolstack.list(victim.frontendPath);
      for (const name of names.filter((one) => one.startsWith('note-')))
        await toolstack.rm(`${victim.frontendPath}/${name}`);
    },
  }),
  {
    name: 'guest: takes no frames for a minute',
    kind,
    setting,
    line: { cause: /takes no frames/, remedy: /until it does/ },
    mended: /takes frames again/,
    long: true,
    inject: async ({ victim, lines }) => {
      const before = lines.length;
      victim.pause();
      const reported = () => lines.slice(before).find(({ text }) => text.includes('takes no frames'));
      return (await until(reported, STALL_MS))?.atMs;
    },
    mend: ({ victim }) => victim.resume(),
  },
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
