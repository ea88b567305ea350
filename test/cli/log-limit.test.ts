import { afterEach, describe, expect, it, vi } from 'vitest';
import { type LeftOut, LogLimit } from '../../lib/daemon/log-limit.js';

class Log {
  nowMs = 0;
  readonly leftOut: LeftOut[] = [];
  readonly limit = new LogLimit(
    () => this.nowMs,
    (leftOut) => this.leftOut.push(leftOut),
  );

  /** @returns how many of the lines are written. */
  write(lines: number, vif: string | undefined, kind: string, everyMs = 0): number {
    let written = 0;
    for (let i = 0; i < lines; i++) {
      this.nowMs += everyMs;
      if (this.limit.admits(vif, kind, `${kind} ${i}`)) written++;
    }
    return written;
  }
}

describe('the limit of the log', () => {
  afterEach(() => vi.useRealTimers());

  it('lets ten lines of a kind through at once, and then one a second', () => {
    const log = new Log();
    expect(log.write(1000, 'vif7.0', 'ERR_PROTOCOL')).toBe(10);
    expect(log.write(10_000, 'vif7.0', 'ERR_PROTOCOL', 1)).toBe(10);
    expect(log.write(20, 'vif7.0', 'ERR_PROTOCOL', 1000)).toBe(20);
  });

  it('keeps room for other vifs, for other kinds of lines of the same vif, and for the daemon', () => {
    const log = new Log();
    log.write(1000, 'vif7.0', 'ERR_PROTOCOL');
    expect(log.write(1, 'vif7.0', 'ERR_TAP')).toBe(1);
    expect(log.write(1, 'vif7.0', 'mended ERR_TAP')).toBe(1);
    expect(log.write(10, 'vif8.0', 'ERR_PROTOCOL')).toBe(10);
    expect(log.write(10, undefined, 'ERR_STORE_GONE')).toBe(10);
  });

  it('reports how many lines were left out, and the last of them, when the flood is over', () => {
    const log = new Log();
    log.write(2265, 'vif7.0', 'ERR_PROTOCOL', 1);
    log.nowMs += 999;
    log.limit.look();
    expect(log.leftOut).toEqual([]);
    log.nowMs += 1;
    log.limit.look();
    expect(log.leftOut).toEqual([{ vif: 'vif7.0', lines: 2253, ms: 2254, last: 'ERR_PROTOCOL 2264' }]);
    log.nowMs += 60_000;
    log.limit.look();
    expect(log.leftOut).toHaveLength(1);
  });

  it('reports the count every 10 s while a flood continues', () => {
    const log = new Log();
    for (let second = 0; second < 30; second++) {
      log.write(100, 'vif7.0', 'attached', 10);
      log.limit.look();
    }
    expect(log.leftOut.length).toBeGreaterThanOrEqual(2);
    expect(log.leftOut[0].ms).toBeGreaterThanOrEqual(9000);
  });

  it('looks by itself, and reports the rest at the end', () => {
    vi.useFakeTimers();
    const log = new Log();
    log.write(11, 'vif7.0', 'attached');
    log.nowMs = 1000;
    vi.advanceTimersByTime(1000);
    expect(log.leftOut).toMatchObject([{ lines: 1 }]);
    expect(vi.getTimerCount()).toBe(0);
    log.write(20, 'vif7.0', 'detached');
    log.limit[Symbol.dispose]();
    expect(log.leftOut).toMatchObject([{ lines: 1 }, { lines: 10, last: 'detached 19' }]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('forgets vifs that are gone, and no flood by that', () => {
    const log = new Log();
    log.write(100, 'vif1.0', 'attached');
    for (let domid = 2; domid < 5000; domid++) log.write(1, `vif${domid}.0`, 'attached');
    expect(log.write(10, 'vif1.0', 'attached')).toBe(0);
  });
});
