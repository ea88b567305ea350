import { describe, expect, it } from 'vitest';
import { LoopShares } from '../../lib/netback/ring/loop-shares.js';
import type { Clock } from '../../lib/xen/seam.js';

/** A loop whose time passes only while jobs run. */
class TestLoop {
  nowMs = 0;
  #jobs: (() => void)[] = [];
  readonly clock: Clock = {
    now: () => this.nowMs,
    after: (_delayMs, fire) => {
      this.#jobs.push(fire);
      return { [Symbol.dispose]: () => this.#jobs.splice(this.#jobs.indexOf(fire), 1) };
    },
  };

  /** @returns false when nothing is left to do. */
  turn(): boolean {
    const jobs = this.#jobs;
    this.#jobs = [];
    for (const job of jobs) job();
    return jobs.length > 0;
  }
}

/** Queues of a guest that never end: each turn takes `turnMs`. */
function busyGuest(loop: TestLoop, shares: LoopShares, queues: number, turnMs: number) {
  const share = shares.share();
  const guest = { share, usedMs: 0, turns: new Array(queues).fill(0) };
  for (let queue = 0; queue < queues; queue++) {
    const job = () =>
      share.run(() => {
        loop.nowMs += turnMs;
        guest.usedMs += turnMs;
        guest.turns[queue]++;
        share.queue(job);
      });
    share.queue(job);
  }
  return guest;
}

describe('shares of the event loop', () => {
  it.each([
    [1, 4],
    [1, 16],
    [2, 32],
  ])('are as large for a guest with %i queues as for one with %i', (few, many) => {
    const loop = new TestLoop();
    const shares = new LoopShares(loop.clock);
    const [one, other] = [busyGuest(loop, shares, few, 0.7), busyGuest(loop, shares, many, 0.7)];
    while (loop.nowMs < 1000) loop.turn();
    expect(one.usedMs / other.usedMs).toBeCloseTo(1, 1);
  });

  it('are as large for a guest whose turns are short as for one whose turns are long', () => {
    const loop = new TestLoop();
    const shares = new LoopShares(loop.clock);
    const [short, long] = [busyGuest(loop, shares, 4, 0.05), busyGuest(loop, shares, 1, 20)];
    while (loop.nowMs < 10_000) loop.turn();
    expect(short.usedMs / long.usedMs).toBeCloseTo(1, 1);
  });

  it('are even between the queues of a guest', () => {
    const loop = new TestLoop();
    const guest = busyGuest(loop, new LoopShares(loop.clock), 5, 0.3);
    while (loop.nowMs < 1000) loop.turn();
    expect(Math.max(...guest.turns) - Math.min(...guest.turns)).toBeLessThan(2);
  });

  it('make a guest wait no longer than a slice and a turn of each other guest', () => {
    const loop = new TestLoop();
    const shares = new LoopShares(loop.clock);
    for (let guest = 0; guest < 3; guest++) busyGuest(loop, shares, 8, 0.4);
    for (let round = 0; round < 100; round++) {
      const beganMs = loop.nowMs;
      loop.turn();
      expect(loop.nowMs - beganMs).toBeLessThanOrEqual(3 * (0.25 + 0.4) + 1e-6);
    }
  });

  it('are all of the loop for a guest that is alone', () => {
    const loop = new TestLoop();
    const guest = busyGuest(loop, new LoopShares(loop.clock), 1, 3);
    let turns = 0;
    while (loop.nowMs < 300 && turns < 2000) {
      loop.turn();
      turns++;
    }
    expect(guest.usedMs).toBeCloseTo(300);
  });

  it('let light work be done at once, without a turn of the loop', () => {
    const loop = new TestLoop();
    const share = new LoopShares(loop.clock).share();
    expect(share.free).toBe(true);
    share.run(() => {
      loop.nowMs += 0.05;
    });
    expect([share.free, loop.turn()]).toEqual([true, false]);
  });

  it('keep what comes after a slice from being done at once', () => {
    const loop = new TestLoop();
    const share = new LoopShares(loop.clock).share();
    share.run(() => {
      expect(share.over).toBe(false);
      loop.nowMs += 1.2;
      expect(share.over).toBe(true);
    });
    expect(share.free).toBe(false);
    while (loop.turn());
    expect(share.free).toBe(true);
  });

  it('leave a guest in whose turn the process stood still for half a minute waiting for a moment, and not as long again', () => {
    const loop = new TestLoop();
    const shares = new LoopShares(loop.clock);
    const share = shares.share();
    share.run(() => {
      loop.nowMs += 30_000;
    });
    const wokenMs = loop.nowMs;
    let servedMs: number | undefined;
    share.queue(() => {
      servedMs = loop.nowMs - wokenMs;
    });
    busyGuest(loop, shares, 1, 0.3);
    while (servedMs === undefined) loop.turn();
    expect(servedMs).toBeLessThan(200);
  });

  it('run a queued job once, in its place, unless it is cancelled', () => {
    const loop = new TestLoop();
    const share = new LoopShares(loop.clock).share();
    const ran: string[] = [];
    const [a, b, c] = ['a', 'b', 'c'].map((name) => () => void ran.push(name));
    for (const job of [a, b, c, a]) share.queue(job);
    share.cancel(b);
    while (loop.turn());
    expect(ran).toEqual(['a', 'c']);
  });

  it('run other jobs after one that throws', () => {
    const loop = new TestLoop();
    const shares = new LoopShares(loop.clock);
    const guest = busyGuest(loop, shares, 1, 0.5);
    shares.share().queue(() => {
      throw new Error('a mistake');
    });
    expect(() => loop.turn()).toThrow('a mistake');
    const { usedMs } = guest;
    for (let i = 0; i < 3; i++) loop.turn();
    expect(guest.usedMs).toBeGreaterThan(usedMs);
  });
});
