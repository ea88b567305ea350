import { describe, expect, it } from 'vitest';
import { LAYOUTS } from '../../lib/durable/layout.js';
import { tryMutation } from '../../sim/mutate.js';
import { MUTATIONS } from '../../sim/mutations.js';
import { runScenario } from '../../sim/run-scenario.js';
import { plainScenario } from '../../sim/scenario.js';
import { pathOf, StoreLog } from '../../sim/store-log.js';

/** How the tests find each wrong order. */
const FOUND_BY: Readonly<Record<string, RegExp>> = {
  'redo log: commits before the responses': /wrong-id|idle-slot|repeated-id|unknown-status/,
  'redo log, to the guest: commits before the responses': /wrong-id|idle-slot|repeated-id|unknown-status/,
  'redo log, to the guest: commits before the base': /lost/,
  'pending frames: counts a frame before it is there': /came again|repeated|damaged|never sent/,
  'pending frames: removes a frame before its copy counts': /lost/,
  'pending frames: records segments before the guest has them': /lost/,
  'hash: selects a bank before it is written': /bad-hash|refused hash/,
  'staged grants: selects a bank before it is written': /refused staged/,
  'multicast list: takes a place before the address is there': /the multicast list has/,
  'rate: adds what an interval brings before the end is moved': /rate: .* were taken/,
  'rate: takes frames before they are charged': /rate: .* were taken/,
  'control ring: responds before it records the wrap': /bad-hash|refused hash/,
  'old frames: records that they are dropped before they are': /sent before the connection/,
  'beginning of a journal: names it before the content is cleared': /wrong-id|idle-slot|lost/,
};

describe.each(['copy', 'map'] as const)('payload by %s: killing between two stores', (payload) => {
  it.each(MUTATIONS.map((one) => [one.name, one] as const))(
    'finds the wrong order: %s',
    async (name, one) => {
      const { found, kills } = await tryMutation(one, payload);
      console.log(`${name}: ${kills} kills, at step ${found?.atStep}, ${found?.words}: ${found?.fault}`);
      expect(found?.fault).toMatch(FOUND_BY[name]);
    },
    60_000,
  );
});

it('an order that makes no difference is not found', async () => {
  const scenario = plainScenario({ fromGuest: 2, toGuest: 2 });
  const order = {
    earlier: ({ path }: { path: string }) => path.startsWith('negotiated.rings'),
    later: ({ path }: { path: string }) => path === 'negotiated.queues',
  };
  const { kills, found } = await tryMutation({ name: 'harmless', scenario, lastsMs: 0, ...order }, 'copy');
  expect([kills, found]).toEqual([1, undefined]);
});

it('a log names each word that a step has stored, and its values before and after', async () => {
  const log = new StoreLog();
  const { trace } = await runScenario(plainScenario({ multicast: 'few' }), log);
  const changes = log.steps.flatMap((one) => one.changes);
  expect(changes.find(({ path }) => path === 'fresh')).toMatchObject({ journal: 'vif7.0', old: 0, now: 1 });
  expect(changes.filter(({ path }) => path === 'fresh').at(-1)).toMatchObject({ old: 1, now: 0 });
  expect(changes.some(({ path }) => path === 'multicast.taken[0]')).toBe(true);
  expect(trace.some((line) => line.includes('vif7.0.q0 toGuestLog.state = '))).toBe(true);
});

it.each([
  ['head.magic', 0],
  ['head.names[13]', 15],
  ['fromGuestLog.bases[1]', 18],
])('the path of a word: %s', (path, word) => {
  expect(pathOf(LAYOUTS[8].queue.words, word)).toBe(path);
});

it('a promise that is broken is shown with what each step stored', async () => {
  const scenario = plainScenario({ fromGuest: 4, toGuest: 4 }, { journal: true });
  const log = new StoreLog();
  await runScenario(scenario, log);
  const commit = log.steps.find(({ changes }) => changes.some(({ path }) => path === 'fromGuestLog.state'))!;
  const [{ journal, word }] = commit.changes;
  const process = {
    ...({ end: 'kill', atStep: commit.step, lastsMs: 0, bursts: ['after'] } as const),
    ...{ reboot: undefined, harm: undefined },
    // The state of a log that has committed one response more than it has.
    tampered: [{ journal, word, value: (commit.changes[0].now & ~0xffff) | 1 }],
  };
  const { faults, trace } = await runScenario({ ...scenario, processes: [process] });
  expect(faults).not.toEqual([]);
  expect(trace.join('\n')).toMatch(/store to the journal: vif7\.0\.q0 /);
});
