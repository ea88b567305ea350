import { describe, expect, it, vi } from 'vitest';
import type { DurableWords } from '../../lib/durable/durable-words.js';
import type { BackRing } from '../../lib/netback/ring/back-ring.js';
import { RX_RING } from '../../lib/protocol/ring.js';
import type { GuestPlan, Scenario } from '../../sim/scenario.js';

/**
 * Shows that the proof can fail: kills at every step find each of these faults, which are put into the backend only here. The modules are
 * replaced for this file only, and the data path has no code for it.
 */
type Mutation =
  | 'none'
  | 'publishes in mid-frame'
  | 'responds out of order'
  | 'forgets frames that are not written yet'
  | 'forgets frames before it writes them'
  | 'forgets frames pending for the guest'
  | 'never replays'
  | 'replays any journal entry'
  | 'commits before the responses are complete';

const mutation = vi.hoisted(() => ({ now: 'none' as string }));

vi.mock('../../lib/netback/ring/back-ring.js', async (load) => {
  const real = await load<typeof import('../../lib/netback/ring/back-ring.js')>();
  class MutantRing extends real.BackRing {
    override publish(...[prepared, count, firstPending]: Parameters<BackRing['publish']>): boolean {
      // The faults need the responses elsewhere than in the log, where the caller prepares them.
      const responses = mutation.now === 'none' ? prepared : prepared.slice();
      const { responseWords } = this.shape;
      const toGuest = this.shape === RX_RING;
      if (mutation.now === 'publishes in mid-frame' && count > 1) {
        const half = count >> 1;
        const notify = super.publish(responses.subarray(0, half * responseWords), half);
        return super.publish(responses.subarray(half * responseWords), count - half, firstPending) || notify;
      }
      if (mutation.now === 'responds out of order' && count > 1) {
        const swapped = responses.slice();
        swapped.copyWithin(0, responseWords, 2 * responseWords);
        swapped.set(responses.subarray(0, responseWords), responseWords);
        return super.publish(swapped, count, firstPending);
      }
      const forgets = toGuest
        ? 'forgets frames pending for the guest'
        : 'forgets frames that are not written yet';
      if (mutation.now === forgets) return super.publish(responses, count);
      const notify = super.publish(responses, count, firstPending);
      if (mutation.now === 'forgets frames before it writes them' && !toGuest) this.clearPending();
      return notify;
    }
  }
  return { ...real, BackRing: MutantRing };
});

vi.mock('../../lib/durable/redo.js', async (load) => {
  const real = await load<typeof import('../../lib/durable/redo.js')>();
  class MutantLog extends real.RedoLog {
    readonly #all: DurableWords;

    constructor(words: DurableWords, responseWords: number) {
      super(words, responseWords);
      this.#all = words;
    }

    override committed(base: number, waiting: number): number {
      if (mutation.now === 'never replays') return 0;
      if (mutation.now === 'replays any journal entry') return Math.min(this.#all.view[0] & 0xffff, waiting);
      return super.committed(base, waiting);
    }

    override commit(
      ...[base, responses, count, firstPending]: Parameters<InstanceType<typeof real.RedoLog>['commit']>
    ): void {
      if (mutation.now === 'commits before the responses are complete') {
        this.responses.fill(0);
        super.commit(base, new Uint32Array(responses.length), count, firstPending);
        this.#all.copy(
          real.RedoLog.words(0, 1),
          responses,
          Math.min(responses.length, this.responses.length),
        );
      } else super.commit(base, responses, count, firstPending);
    }
  }
  return { ...real, RedoLog: MutantLog };
});

const { runScenario } = await import('../../sim/run-scenario.js');
const { plainScenario } = await import('../../sim/scenario.js');

/** Frames of one and of many slots, in both directions, to a guest that is slow to take them. */
const MIXED = { sizes: [9000, 60], fromGuest: 4, toGuest: 8, buffersMax: 18, lateMs: 5 };

/** Kills at each step in turn until a promise is broken. @returns the broken promise; undefined if there is none. */
async function firstFault(guest: Partial<GuestPlan>, rest: Partial<Scenario>): Promise<string | undefined> {
  const { steps, faults } = await runScenario(plainScenario(guest, rest));
  if (faults.length > 0) return `undisturbed: ${faults[0]}`;
  for (let atStep = 1; atStep <= steps; atStep++) {
    const process = {
      end: 'kill',
      atStep,
      lastsMs: 0,
      bursts: ['after'],
      reboot: undefined,
      harm: undefined,
    } as const;
    const { faults } = await runScenario(plainScenario(guest, { ...rest, processes: [process] }));
    if (faults.length > 0) return `killed at step ${atStep}: ${faults[0]}`;
  }
  return undefined;
}

describe.each(['copy', 'map'] as const)('payload by %s: killing at every step', (payload) => {
  it.each<[Mutation, RegExp]>([
    ['publishes in mid-frame', /killed at .*(damaged|never sent|complains|chain-incomplete)/],
    ['responds out of order', /wrong-id|unknown-status|extra-not-null/],
    ['forgets frames that are not written yet', /lost/],
    ['forgets frames before it writes them', /lost/],
    ['forgets frames pending for the guest', /lost/],
    ['never replays', /wrong-id|complains|repeated-id|lost/],
    ['replays any journal entry', /wrong-id|repeated-id|beyond|complains/],
    ['commits before the responses are complete', /wrong-id|unknown-status|complains/],
  ])(
    'finds a backend that %s',
    async (name, what) => {
      mutation.now = name;
      const found = await firstFault(MIXED, { payload });
      console.log(`${name}: ${found}`);
      expect(found).toMatch(what);
    },
    60_000,
  );

  it('finds a backend without a journal', async () => {
    mutation.now = 'none';
    expect(await firstFault(MIXED, { payload, journal: false })).toBeDefined();
  }, 60_000);

  it('finds nothing in the backend as it is', async () => {
    mutation.now = 'none';
    expect(await firstFault(MIXED, { payload })).toBeUndefined();
  }, 60_000);
});
