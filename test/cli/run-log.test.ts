import { describe, expect, it } from 'vitest';
import { isJournald } from '../../lib/daemon/journald.js';
import { withManager } from '../../lib/daemon/manager-log.js';
import { type EventLog, eventLog } from '../../lib/daemon/run-log.js';
import { servedText, statusText } from '../../lib/daemon/served.js';
import { VifdError } from '../../lib/errors.js';
import type { ServiceManager } from '../../lib/host/service-manager.js';
import { VifCounters } from '../../lib/netback/frames/counters.js';
import type { Netback } from '../../lib/netback/netback.js';
import type { Vif } from '../../lib/netback/public-vif.js';

function vifOf(id: string, state: string, reason?: string): Vif {
  return { id, state, reason, queueStats: [], stats: new VifCounters(() => 0).sum } as unknown as Vif;
}

function netbackOf(vifs: readonly Vif[], faults: readonly VifdError[] = []): Netback {
  return { vifs: new Map(vifs.map((vif) => [vif.id, vif])), faults } as unknown as Netback;
}

function open(options: { json: boolean; journald?: boolean }): { log: EventLog; lines: string[] } {
  const lines: string[] = [];
  const output = { line: (text: string) => void lines.push(text), [Symbol.dispose]: () => {} };
  return { log: eventLog({ journald: false, ...options, output, now: () => 0 }), lines };
}

const served = vifOf('vif7.0', 'connected');
const tapDown = new VifdError('ERR_TAP', 'vif7.0: tap vif7.0 is down: set it up.', { vif: 'vif7.0' });
const stalled = new VifdError('ERR_STALLED', 'vif7.0: its guest takes no frames', { vif: 'vif7.0' });
const storeGone = new VifdError('ERR_STORE_GONE', 'The connection to xenstored is lost.');

describe('the log of vifd run', () => {
  it('reports faults and their ends, of a vif and of all', () => {
    const { log, lines } = open({ json: false });
    log.error(tapDown, served);
    log.mended(tapDown, served);
    log.error(storeGone, undefined);
    log.mended(storeGone, undefined);
    expect(lines).toEqual([
      'vif7.0: tap vif7.0 is down: set it up.',
      'vif7.0: mended: tap vif7.0 is down: set it up.',
      'The connection to xenstored is lost.',
      'mended: The connection to xenstored is lost.',
    ]);
  });

  it('has levels: for journald at the beginning of a line, in JSON as a word', () => {
    const speak = (log: EventLog) => {
      log.error(tapDown, served);
      log.error(stalled, served);
      log.mended(tapDown, served);
      log.attached(served, { resumed: false, attachMs: 1 });
    };
    const journald = open({ json: false, journald: true });
    speak(journald.log);
    expect(journald.lines.map((line) => line.slice(0, 9))).toEqual([
      '<3>vif7.0',
      '<4>vif7.0',
      '<6>vif7.0',
      '<6>vif7.0',
    ]);
    const json = open({ json: true, journald: true });
    speak(json.log);
    expect(json.lines.map((line) => JSON.parse(line))).toMatchObject([
      { schemaVersion: 1, level: 'error', event: 'error', vif: 'vif7.0', code: 'ERR_TAP' },
      { level: 'warning', event: 'error', code: 'ERR_STALLED' },
      { level: 'info', event: 'mended', vif: 'vif7.0', code: 'ERR_TAP', message: tapDown.message },
      { level: 'info', event: 'attached' },
    ]);
  });

  it('writes one line without control characters, and of bounded length, whatever a message holds', () => {
    const nasty = new VifdError('ERR_TAP', `vif7.0:\n<0>\x1b[2J\u2028\u202e${'x'.repeat(5000)}`);
    for (const json of [false, true]) {
      const { log, lines } = open({ json });
      log.error(nasty, served);
      expect(lines).toHaveLength(1);
      expect(lines[0]).not.toMatch(/[\p{C}\p{Zl}\p{Zp}]/u);
      expect(lines[0].length).toBeLessThan(1300);
    }
  });

  it('limits each vif, counts what it left out, and writes the count at the end', () => {
    for (const json of [false, true]) {
      const { log, lines } = open({ json });
      for (let i = 0; i < 100; i++) log.attached(served, { resumed: false, attachMs: i });
      log.attached(vifOf('vif8.0', 'connected'), { resumed: false, attachMs: 1 });
      log[Symbol.dispose]();
      expect(lines).toHaveLength(12);
      const last = lines[11];
      if (json) expect(JSON.parse(last)).toMatchObject({ event: 'left-out', vif: 'vif7.0', lines: 90 });
      else expect(last).toBe('vif7.0: 90 lines left out in 0 s; the last: vif7.0 attached in 99.0 ms');
    }
  });

  it('reports in its ready line how many vifs are not served, and why', () => {
    const stopped = vifOf('vif8.0', 'stopped', "tx-ring-ref is 'x', not a grant reference");
    const waiting = vifOf('vif9.0', 'waiting');
    expect(servedText(netbackOf([served, waiting]))).toBe('serving 2 vifs');
    expect(servedText(netbackOf([served]))).toBe('serving 1 vif');
    expect(servedText(netbackOf([served, waiting, stopped]))).toBe(
      "serving 2 vifs, 1 not served: vif8.0: tx-ring-ref is 'x', not a grant reference",
    );
    const { log, lines } = open({ json: true });
    log.ready(netbackOf([served, stopped], [storeGone]));
    expect(JSON.parse(lines[0])).toMatchObject({
      event: 'ready',
      vifs: ['vif7.0', 'vif8.0'],
      notServed: [{ vif: 'vif8.0', reason: "tx-ring-ref is 'x', not a grant reference" }],
      faults: [{ code: 'ERR_STORE_GONE' }],
    });
  });

  it('counts vifs that could not even be read among those that are not served', () => {
    const unread = new VifdError('ERR_STORE', 'vif9.0 cannot be served yet: EACCES', { vif: 'vif9.0' });
    expect(servedText(netbackOf([served], [unread]))).toBe(
      'serving 1 vif, 1 not served: vif9.0 cannot be served yet: EACCES',
    );
  });
});

describe('the status for a service manager', () => {
  it('has how many vifs are attached and what is wrong now, three reasons at most', () => {
    const down = (n: number) => vifOf(`vif${n}.0`, 'connected', `vif${n}.0: tap is down`);
    expect(statusText(netbackOf([served]))).toBe('1 vif attached');
    expect(statusText(netbackOf([down(1), down(2)], [storeGone]))).toBe(
      '2 vifs attached; The connection to xenstored is lost.; vif1.0: tap is down; vif2.0: tap is down',
    );
    expect(statusText(netbackOf([1, 2, 3, 4, 5].map(down)))).toMatch(/vif3\.0: tap is down; and 2 more$/);
  });

  it('follows faults as they begin and end', async () => {
    const told: string[] = [];
    const manager = {
      ready: (status: string) => told.push(`ready ${status}`),
      status: (status: string) => told.push(status),
      stopping: (status: string) => told.push(status),
    } as unknown as ServiceManager;
    const log = withManager(open({ json: false }).log, manager);
    const vif = vifOf('vif7.0', 'connected') as { reason?: string };
    log.error(storeGone, undefined);
    log.ready(netbackOf([vif as Vif]));
    vif.reason = tapDown.message;
    log.error(tapDown, vif as Vif);
    await expect.poll(() => told.at(-1)).toBe('1 vif attached; vif7.0: tap vif7.0 is down: set it up.');
    delete vif.reason;
    log.mended(tapDown, vif as Vif);
    await expect.poll(() => told.at(-1)).toBe('1 vif attached');
    log.stopping();
    log.detached(vif as Vif, 'shutdown');
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect(told.at(-1)).toBe('detaching; guests stay connected');
    expect(told[0]).toBe('ready 1 vif attached');
  });
});

describe('journald', () => {
  it('is known by the device and inode of its descriptor, and not by the variable alone', async () => {
    const { fstatSync, openSync, closeSync } = await import('node:fs');
    const descriptor = openSync('/dev/null', 'r');
    const { dev, ino } = fstatSync(descriptor, { bigint: true });
    expect(isJournald(descriptor, { JOURNAL_STREAM: `${dev}:${ino}` })).toBe(true);
    expect(isJournald(descriptor, { JOURNAL_STREAM: `${dev}:${ino + 1n}` })).toBe(false);
    expect(isJournald(descriptor, {})).toBe(false);
    closeSync(descriptor);
    expect(isJournald(descriptor, { JOURNAL_STREAM: `${dev}:${ino}` })).toBe(false);
  });
});
