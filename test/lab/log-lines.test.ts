import { describe, expect, it } from 'vitest';
import { eventIn } from '../../lab/drive/log-lines.js';
import { eventLog } from '../../lib/daemon/run-log.js';
import { VifdError } from '../../lib/errors.js';
import { VifCounters } from '../../lib/netback/frames/counters.js';
import type { Netback } from '../../lib/netback/netback.js';
import type { Vif } from '../../lib/netback/public-vif.js';

/** A unit's log as journald prints it: the level in front of a line becomes its priority. */
function entriesOf(log: (say: ReturnType<typeof eventLog>) => void) {
  const lines: string[] = [];
  const output = { line: (text: string) => void lines.push(text), [Symbol.dispose]: () => {} };
  using say = eventLog({ json: false, output, journald: true });
  log(say);
  return lines.map((line) => {
    const [, PRIORITY = '', MESSAGE = ''] = /^<(\d)>(.*)$/.exec(line) ?? [];
    return { PRIORITY, MESSAGE, __REALTIME_TIMESTAMP: '1700000000123456' };
  });
}

const vif = {
  id: 'vif7.0',
  state: 'connected',
  reason: undefined,
  stats: new VifCounters(() => 0).sum,
  queueStats: [],
} as unknown as Vif;
const netback = { vifs: new Map([['vif7.0', vif]]), faults: [] } as unknown as Netback;

describe("the lab reads the unit's log as users do", () => {
  it('and knows what vifd run writes: ready, attached, detached, stopping, errors', () => {
    const entries = entriesOf((say) => {
      say.attached?.(vif, { resumed: false, attachMs: 3 });
      say.attached?.(vif, { resumed: true, attachMs: 3 });
      say.ready(netback);
      say.error?.(new VifdError('ERR_LINK', 'vif7.0: attached again in no bridge'), vif);
      say.detached?.(vif, 'shutdown');
      say.stopping();
    });
    expect(entries.map(eventIn)).toMatchObject([
      { event: 'attached', vif: 'vif7.0', resumed: false, timeMs: 1700000000123.456 },
      { event: 'attached', vif: 'vif7.0', resumed: true },
      { event: 'ready' },
      { event: 'error', message: 'vif7.0: attached again in no bridge' },
      { event: 'detached', vif: 'vif7.0' },
      { event: 'stopping' },
    ]);
  });

  it('and knows what a supervisor writes about its workers', () => {
    const entries = entriesOf((say) => {
      say.workerStarted(3341, true);
      say.workerStarted(3356, false);
      say.tookOver({ pid: 3341, from: 3356, vifs: ['vif7.0', 'vif8.0'], gapMs: 12.34 });
      say.workerDied(3356, 'SIGKILL', ['vif7.0']);
    });
    expect(entries.map(eventIn)).toMatchObject([
      { event: 'worker-started', pid: 3341, standby: true },
      { event: 'worker-started', pid: 3356, standby: false },
      { event: 'took-over', pid: 3341, from: 3356, gapMs: 12.3 },
      { event: 'error', message: 'worker 3356 died (SIGKILL); it served vif7.0' },
    ]);
  });

  it('and takes lines that it does not know for what they are', () => {
    expect(eventIn({ MESSAGE: 'vif7.0 takes frames again', PRIORITY: '6' })).toMatchObject({
      event: 'other',
    });
    expect(eventIn({ MESSAGE: [0x76, 0x69], PRIORITY: '3' })).toMatchObject({
      event: 'error',
      message: 'vi',
    });
  });
});
