import { beforeEach, describe, expect, it } from 'vitest';
import { DRAIN_MS, SILENT_LOOK_MS, STALL_MS, StallTimer } from '../../lib/netback/queue/stall-timer.js';
import type { Clock } from '../../lib/xen/seam.js';

let nowMs = 0;
const clock: Clock = {
  now: () => nowMs,
  after: () => {
    throw new Error('the stall timer sets no timer of its own');
  },
};
beforeEach(() => {
  nowMs = 1000;
});

/** As a queue does that has no room. */
function wait(timer: StallTimer): { stalls: boolean; leftMs: number } {
  const stalls = timer.begin();
  return { stalls, leftMs: timer.leftMs() };
}

describe('the stall timer', () => {
  it('of a guest that notifies has 10 s for the head, whatever number of looks, and then for the next head', () => {
    const timer = new StallTimer(clock, true);
    expect(timer.waitedMs).toBe(0);
    expect(wait(timer)).toEqual({ stalls: false, leftMs: DRAIN_MS });
    nowMs += 4000;
    expect(wait(timer)).toEqual({ stalls: false, leftMs: DRAIN_MS - 4000 });
    expect([timer.waitedMs, timer.lapsed]).toEqual([4000, false]);
    nowMs += DRAIN_MS - 4000;
    expect(wait(timer)).toEqual({ stalls: false, leftMs: 0 });
    expect([timer.waitedMs, timer.lapsed]).toEqual([Number.POSITIVE_INFINITY, true]);
    nowMs += 5000;
    expect(wait(timer)).toEqual({ stalls: false, leftMs: DRAIN_MS });
    expect([timer.waitedMs, timer.lapsed]).toEqual([Number.POSITIVE_INFINITY, true]);
  });

  it('reports a stall once, 60 s after the first head began to wait, and its end once', () => {
    const timer = new StallTimer(clock, true);
    const stalls: number[] = [];
    for (let waitedMs = 0; waitedMs <= 3 * STALL_MS; waitedMs += 1000) {
      if (wait(timer).stalls) stalls.push(waitedMs);
      nowMs += 1000;
    }
    expect([stalls, timer.stalled]).toEqual([[STALL_MS], true]);
    expect([timer.end(), timer.stalled, timer.lapsed, timer.waitedMs]).toEqual([true, false, false, 0]);
    expect(timer.end()).toBe(false);
    expect(wait(timer)).toEqual({ stalls: false, leftMs: DRAIN_MS });
  });

  it('begins anew with each frame that the guest takes', () => {
    const timer = new StallTimer(clock, true);
    for (let taken = 0; taken < 20; taken++) {
      expect(wait(timer)).toEqual({ stalls: false, leftMs: DRAIN_MS });
      nowMs += DRAIN_MS - 1;
      expect(wait(timer)).toEqual({ stalls: false, leftMs: 1 });
      expect(timer.end()).toBe(false);
    }
  });

  it('of a guest that does not notify looks every 30 ms, and sees no stall', () => {
    const timer = new StallTimer(clock, false);
    const lefts = new Set<number>();
    for (let waitedMs = 0; waitedMs < 2 * STALL_MS; waitedMs += SILENT_LOOK_MS) {
      const { stalls, leftMs } = wait(timer);
      expect(stalls).toBe(false);
      lefts.add(leftMs);
      nowMs += SILENT_LOOK_MS;
    }
    expect(Math.max(...lefts)).toBe(SILENT_LOOK_MS);
    expect(lefts.has(0)).toBe(true);
    expect([timer.stalled, timer.lapsed, timer.end()]).toEqual([false, true, false]);
  });
});
