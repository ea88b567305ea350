import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as layout from '../../lib/netback/frames/counter-layout.js';
import {
  DROP_REASONS,
  type Flow,
  FlowCounters,
  VifCounters,
  type VifStats,
} from '../../lib/netback/frames/counters.js';
import { QUEUES_MAX } from '../../lib/netback/settings.js';

const sumOf = (flow: Flow) => DROP_REASONS.reduce((sum, reason) => sum + flow.drops[reason], 0);
const page = () => new Float64Array(layout.COUNTER_PAGE_DOUBLES);

/** What happens to counters, in any order. */
const queue = fc.nat(QUEUES_MAX - 1);
const frames = fc.integer({ min: 1, max: 1000 });
const direction = fc.constantFrom('fromGuest' as const, 'toGuest' as const);
const change = fc.oneof(
  fc.record({ kind: fc.constant('batch' as const), queue, direction, frames, bytes: fc.nat(1 << 24) }),
  fc.record({
    ...{ kind: fc.constant('drop' as const), queue, direction, frames },
    reason: fc.constantFrom(...DROP_REASONS),
  }),
  fc.record({
    ...{ kind: fc.constant('more' as const), queue, direction, frames },
    field: fc.constantFrom('filtered' as const, 'errors' as const, 'hookErrors' as const),
  }),
  fc.record({ kind: fc.constant('stall' as const), queue }),
  fc.record({ kind: fc.constant('port' as const), frames }),
  fc.record({ kind: fc.constantFrom('use' as const, 'leave' as const, 'truncate' as const) }),
);

describe('the counters of a flow', () => {
  it('are all in places of their own, and exact up to 2^53', () => {
    const counts = new Float64Array(layout.FLOW_DOUBLES);
    const flow = new FlowCounters(counts);
    flow.frames += 1;
    flow.bytes += 2 ** 53 - 1;
    flow.bytes += 1;
    flow.filtered += 3;
    flow.errors += 4;
    flow.hookErrors += 5;
    flow.batches += 6;
    DROP_REASONS.forEach((reason, i) => {
      flow.drop(reason, 7 + i);
    });
    expect([...counts]).toEqual([1, 2 ** 53, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    const { drops, ...others } = flow.snapshot();
    expect(others).toEqual({
      ...{ frames: 1, bytes: 2 ** 53, filtered: 3, errors: 4, hookErrors: 5, batches: 6 },
      dropped: 99,
    });
    expect(Object.keys(drops)).toEqual(DROP_REASONS);
    flow.countBatch(10, 0);
    expect(flow).toMatchObject({ frames: 11, batches: 7 });
  });

  it('have one double each: all of a vif fill its page, and none has the place of another', () => {
    const { AT_QUEUES, QUEUE_DOUBLES, FLOW_DOUBLES, AT_FROM_GUEST, AT_TO_GUEST, AT_STALLS } = layout;
    expect(AT_QUEUES + QUEUES_MAX * QUEUE_DOUBLES).toBe(layout.COUNTER_PAGE_DOUBLES);
    expect([AT_FROM_GUEST, AT_TO_GUEST, AT_STALLS, QUEUE_DOUBLES]).toEqual([
      ...[0, FLOW_DOUBLES, 2 * FLOW_DOUBLES],
      2 * FLOW_DOUBLES + 1,
    ]);
    const counters = new VifCounters(() => 0);
    for (let index = 0; index < QUEUES_MAX; index++) {
      counters.of(index).fromGuest.frames += 1;
      counters.of(index).toGuest.drop('damaged');
      counters.countStall(index);
    }
    const counted = page();
    counters.addTo(counted);
    expect([...counted].filter((count) => count !== 0)).toEqual(Array(3 * QUEUES_MAX).fill(1));
  });
});

describe('the counters of a vif', () => {
  it('never decrease, and drops by reason sum up to all that is dropped, whatever happens', () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 60 }), (changes) => {
        let dropped = 0;
        const counters = new VifCounters(() => dropped);
        let used = page();
        let before = counters.sum;
        const all = { frames: 0, bytes: 0, dropped: 0, stalls: 0 };
        for (const one of changes) {
          if (one.kind === 'batch') {
            counters.of(one.queue)[one.direction].countBatch(one.frames, one.bytes);
            all.frames += one.frames;
            all.bytes += one.bytes;
          } else if (one.kind === 'drop') {
            counters.of(one.queue)[one.direction].drop(one.reason, one.frames);
            all.dropped += one.frames;
          } else if (one.kind === 'more') counters.of(one.queue)[one.direction][one.field] += one.frames;
          else if (one.kind === 'stall') {
            counters.countStall(one.queue);
            all.stalls++;
          } else if (one.kind === 'port') {
            dropped += one.frames;
            all.dropped += one.frames;
          } else if (one.kind === 'leave') counters.leavePage();
          else if (one.kind === 'use') {
            used = page();
            counters.addTo(used);
            counters.use(used);
          } else {
            // Nothing was counted between the two looks, so a truncation loses nothing unknown.
            counters.look();
            used.fill(0);
          }
          const now = counters.sum;
          expectGrown(before, now);
          before = now;
        }
        const { fromGuest, toGuest, stalls } = before;
        expect({
          frames: fromGuest.frames + toGuest.frames,
          bytes: fromGuest.bytes + toGuest.bytes,
          dropped: fromGuest.dropped + toGuest.dropped,
          stalls,
        }).toEqual(all);
        for (const stats of [before, ...counters.queues])
          for (const flow of [stats.fromGuest, stats.toGuest]) expect(sumOf(flow)).toBe(flow.dropped);
        const own = counters.queues.reduce((sum, { toGuest: flow }) => sum + flow.dropped, 0);
        expect(toGuest.dropped - own).toBe(dropped);
        expect(toGuest.drops.port).toBeGreaterThanOrEqual(dropped);
      }),
    );
  });

  it('count on in a page that has counts, and add what was counted meanwhile', () => {
    const earlier = new VifCounters(() => 3);
    earlier.of(2).fromGuest.countBatch(10, 600);
    earlier.countStall(2);
    const left = page();
    earlier.addTo(left);
    const counters = new VifCounters(() => 4);
    const { fromGuest } = counters.of(0);
    fromGuest.countBatch(5, 300);
    counters.addTo(left);
    counters.use(left);
    // The pumps have had this object since they began.
    fromGuest.countBatch(1, 60);
    expect(counters.sum).toMatchObject({
      fromGuest: { frames: 16, bytes: 960, batches: 3 },
      toGuest: { dropped: 7, drops: { port: 7 } },
      stalls: 1,
    });
    expect(counters.queues.map(({ fromGuest: flow }) => flow.frames)).toEqual([6, 0, 10]);
  });

  it('are those of the queues that the vif has, or had', () => {
    const counters = new VifCounters(() => 9);
    expect(counters.queues).toEqual([]);
    counters.of(1);
    expect(counters.queues).toHaveLength(2);
    const left = page();
    left[layout.AT_QUEUES + 4 * layout.QUEUE_DOUBLES + layout.AT_STALLS] = 1;
    counters.use(left);
    expect(counters.queues.map(({ stalls }) => stalls)).toEqual([0, 0, 0, 0, 1]);
  });

  it.each([
    ['cleared', 0, 12],
    ['made nonsense', Number.NaN, 10],
    ['made less than nothing', -5, 10],
  ])(
    'are mended where a count was %s: by what the last look saw and what was counted since',
    (_how, value, frames) => {
      const counters = new VifCounters(() => 0);
      const used = page();
      counters.use(used);
      const { fromGuest } = counters.of(0);
      fromGuest.frames += 10;
      counters.look();
      used[layout.AT_QUEUES] = value;
      fromGuest.frames += 2;
      expect(counters.sum.fromGuest.frames).toBe(frames);
      expect(used[layout.AT_QUEUES]).toBe(frames);
    },
  );
});

function expectGrown(before: VifStats, now: VifStats): void {
  const [from, to] = [numbersOf(before), numbersOf(now)];
  for (const [name, count] of from) expect([name, to.get(name)! >= count]).toEqual([name, true]);
}

/** By its path. */
function numbersOf(value: object, path = ''): Map<string, number> {
  const numbers = new Map<string, number>();
  for (const [key, part] of Object.entries(value))
    if (typeof part === 'number') numbers.set(`${path}${key}`, part);
    else for (const [name, count] of numbersOf(part, `${path}${key}.`)) numbers.set(name, count);
  return numbers;
}
