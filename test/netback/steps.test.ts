/** The table of docs/vif-lifecycle.md, as lib/netback/vif/steps.ts has it. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  presentIn,
  type Row,
  rowFor,
  type SoFar,
  type Step,
  stepOf,
  TABLE,
} from '../../lib/netback/vif/steps.js';
import type { VifSnapshot } from '../../lib/netback/vif/vif-node.js';
import { XenbusState } from '../../lib/protocol/xenbus.js';

const {
  Unknown,
  Initialising,
  InitWait,
  Initialised,
  Connected,
  Closing,
  Closed,
  Reconfiguring,
  Reconfigured,
} = XenbusState;
const STATES = Object.values(XenbusState);
const SO_FAR: SoFar = { seen: true, domainGone: false, offered: false };

function snapshotOf(parts: Partial<VifSnapshot>): VifSnapshot {
  return {
    own: Connected,
    frontend: Connected,
    strange: undefined,
    online: true,
    hasScript: false,
    plugged: true,
    hotplugError: undefined,
    rate: undefined,
    ...parts,
  };
}

const step = (parts: Partial<VifSnapshot>, soFar: Partial<SoFar> = {}) =>
  stepOf(snapshotOf(parts), { ...SO_FAR, ...soFar });

describe('the next step', () => {
  const expecting = { do: 'expect', offer: true };
  it.each<[string, Partial<VifSnapshot>, object, Partial<SoFar>?]>([
    ['a new vif is offered', { own: Initialising, frontend: Initialising }, expecting],
    [
      'the same offer is not written twice',
      { own: InitWait, frontend: Initialising },
      { do: 'expect', offer: false },
      { offered: true },
    ],
    ['another backend’s offer is written over', { own: InitWait, frontend: Initialising }, expecting],
    ['a guest reboots without closing', { own: Connected, frontend: Initialising }, expecting],
    ['a guest does not wait for InitWait', { own: Initialising, frontend: Connected }, expecting],
    ['a guest does not wait after Closed', { own: Closed, frontend: Connected }, expecting],
    [
      'a guest connects, and the hotplug script is done',
      { own: InitWait, frontend: Connected },
      { do: 'serve', write: Connected },
    ],
    [
      'a guest connects, and the hotplug script runs',
      { own: InitWait, frontend: Connected, plugged: false },
      { do: 'serve' },
    ],
    [
      'a guest that waits for Connected as Initialised',
      { own: InitWait, frontend: Initialised },
      { do: 'serve', write: Connected },
    ],
    ['a connected guest, found at start or changed', {}, { do: 'serve' }],
    ['a connected guest, and a script that runs again', { plugged: false }, { do: 'serve' }],
    [
      'a guest is content with Reconfigured',
      { own: Reconfigured, frontend: Connected },
      { do: 'serve', write: Connected },
    ],
    [
      'a guest asks for something else',
      { frontend: Reconfiguring },
      { do: 'reconfigure', first: { do: 'serve' }, write: Reconfigured },
    ],
    [
      'vifd has responded to Reconfiguring',
      { own: Reconfigured, frontend: Reconfiguring },
      { do: 'reconfigure', first: { do: 'serve' }, write: undefined },
    ],
    ['a guest closes', { frontend: Closing }, { do: 'close', write: Closing }],
    ['vifd has responded to Closing', { own: Closing, frontend: Closing }, { do: 'close' }],
    ['Closed is not taken back', { own: Closed, frontend: Closing }, { do: 'close' }],
    ['a guest has closed', { frontend: Closed }, { do: 'closed', port: 'open', write: Closed }],
    [
      'a guest has closed, and vifd is Closed',
      { own: Closed, frontend: Closed },
      { do: 'closed', port: 'open', write: undefined },
    ],
    ['a guest is gone', { frontend: Unknown }, { do: 'closed', port: 'leave', write: Closed }],
    [
      'a guest is gone for good',
      { frontend: Unknown, online: false },
      { do: 'closed', port: 'remove', write: Closed },
    ],
    [
      'the toolstack removes the device of a connected guest',
      { own: Closing, online: false },
      { do: 'closed', port: 'remove', write: Closed },
    ],
    [
      'a process was killed between Closed and its end',
      { own: Closed, online: false },
      { do: 'closed', port: 'remove', write: undefined },
    ],
    [
      'an offline vif whose guest closes',
      { online: false, frontend: Closing },
      { do: 'close', write: Closing },
    ],
    ['a connected guest of a vif that closes', { own: Closing }, { do: 'nothing' }],
    ['a guest in a state of backends', { frontend: InitWait }, { do: 'nothing' }],
  ])('%s', (_what, parts, expected, soFar) => {
    expect(step(parts, soFar)).toEqual(expected);
  });

  it.each<[string, Partial<SoFar>, Step]>([
    ['was there', { seen: true }, { do: 'end' }],
    ['may come back with the store', { seen: false }, { do: 'await the node' }],
    ['is that of a domain that is gone', { seen: false, domainGone: true }, { do: 'end' }],
  ])('for a missing node that %s', (_what, soFar, expected) => {
    expect(stepOf(undefined, { ...SO_FAR, ...soFar })).toEqual(expected);
  });

  it('takes an unreadable guest for a missing node only after a loss of the store', () => {
    const unreadable = snapshotOf({ frontend: Unknown });
    expect(presentIn(unreadable, true)).toBe(unreadable);
    expect(presentIn(unreadable, false)).toBeUndefined();
    expect(presentIn(snapshotOf({}), false)).toEqual(snapshotOf({}));
    expect(presentIn(undefined, true)).toBeUndefined();
  });

  it('is that of a decision by cases, for everything that a store can hold', () => {
    let compared = 0;
    for (const own of STATES)
      for (const frontend of STATES)
        for (const flags of Array.from({ length: 8 }, (_, bits) => bits)) {
          const parts = { own, frontend, online: (flags & 1) !== 0, plugged: (flags & 2) !== 0 };
          const offered = (flags & 4) !== 0;
          expect(step(parts, { offered }), JSON.stringify({ ...parts, offered })).toEqual(
            byCases(snapshotOf(parts), offered),
          );
          compared++;
        }
    expect(compared).toBe(9 * 9 * 8);
  });
});

/** The same table written another way: as nested cases. */
function byCases({ own, frontend, online, plugged }: VifSnapshot, offered: boolean): Step {
  const isOver = own === Closing || own === Closed;
  const write = own === Closed ? undefined : Closed;
  const connect = (): Extract<Step, { do: 'expect' | 'serve' }> | undefined => {
    if (own === Initialising || own === Closed) return { do: 'expect', offer: true };
    if (own === InitWait) return plugged ? { do: 'serve', write: Connected } : { do: 'serve' };
    if (own === Connected) return { do: 'serve' };
    if (own !== Reconfigured) return undefined;
    return frontend === Connected ? { do: 'serve', write: Connected } : { do: 'serve' };
  };
  if (isOver && !online) return { do: 'closed', port: 'remove', write };
  switch (frontend) {
    case Unknown:
      return { do: 'closed', port: online ? 'leave' : 'remove', write };
    case Closed:
      return { do: 'closed', port: online ? 'open' : 'remove', write };
    case Closing:
      return isOver ? { do: 'close' } : { do: 'close', write: Closing };
    case Initialising:
      return { do: 'expect', offer: own !== InitWait || !offered };
    case Initialised:
    case Connected:
      return connect() ?? { do: 'nothing' };
    case Reconfiguring:
      return {
        do: 'reconfigure',
        first: connect(),
        write: own === Reconfigured ? undefined : Reconfigured,
      };
    default:
      return { do: 'nothing' };
  }
}

describe('the table', () => {
  it('has no row that earlier ones hide', () => {
    const taken = new Set<Row>();
    for (const own of STATES)
      for (const frontend of STATES)
        for (const flags of Array.from({ length: 8 }, (_, bits) => bits)) {
          const parts = { own, frontend, online: (flags & 1) !== 0, plugged: (flags & 2) !== 0 };
          taken.add(rowFor(snapshotOf(parts), { ...SO_FAR, offered: (flags & 4) !== 0 }));
        }
    expect(TABLE.filter((row) => !taken.has(row))).toEqual([]);
  });

  it('is the one that docs/vif-lifecycle.md shows', () => {
    const document = readFileSync(new URL('../../docs/vif-lifecycle.md', import.meta.url), 'utf8');
    const head = '| our state | frontend | if | step |\n| --- | --- | --- | --- |\n';
    const [, after] = document.split(head);
    const shown = (after ?? '').split('\n\n')[0].split('\n');
    expect(shown).toEqual(TABLE.map(lineOf));
  });
});

function lineOf(row: Row): string {
  const names = (states: Row['own']) => states?.map((state) => nameOf(state)).join(', ') ?? 'any';
  const conditions = [
    row.online === undefined ? [] : [`\`online=${row.online ? 1 : 0}\``],
    row.plugged === undefined ? [] : ['plugged'],
    row.offered === undefined ? [] : ['offered'],
  ].flat();
  return `| ${names(row.own)} | ${names(row.frontend)} | ${conditions.join(', ')} | ${textOf(row.step)} |`;
}

function nameOf(state: XenbusState): string | undefined {
  return Object.entries(XenbusState).find(([, value]) => value === state)?.[0];
}

function textOf(of: Step): string {
  const write = 'write' in of && of.write !== undefined ? [`write ${nameOf(of.write)}`] : [];
  switch (of.do) {
    case 'expect':
      return ['expect', ...(of.offer ? ['write the offer and InitWait'] : [])].join('; ');
    case 'closed':
      return [
        'closed',
        ...(of.port === 'remove' ? ['remove the port'] : []),
        ...write,
        ...(of.port === 'open' ? ['open the port'] : []),
      ].join('; ');
    case 'reconfigure':
      return [...(of.first === undefined ? [] : [textOf(of.first)]), 'reconfigure', ...write].join('; ');
    default:
      return [of.do, ...write].join('; ');
  }
}
