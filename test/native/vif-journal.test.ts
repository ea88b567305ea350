import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { JOURNAL_VERSION } from '../../lib/durable/layout.js';
import { journalFiles } from '../../lib/host/journal-files.js';
import type { FrontendSettings, QueueSettings } from '../../lib/netback/settings.js';
import { VifJournals } from '../../lib/netback/state/connection-journals.js';

const QUEUES: readonly QueueSettings[] = [0, 1, 2].map((queue) => ({
  txRingRef: 8 + 2 * queue,
  rxRingRef: 9 + 2 * queue,
  txPort: 3 + 2 * queue,
  rxPort: 4 + 2 * queue,
}));

/** The properties of a connection that journals concern. */
const of = (queues: readonly QueueSettings[]) => ({ queues }) as FrontendSettings;

describe('the journals of a vif', () => {
  let directory: string;
  let reported: string[];
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'vifd-journals-'));
    reported = [];
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  const openNext = () =>
    new VifJournals({
      journals: journalFiles(join(directory, 'run')),
      vif: { id: 'vif7.0', domid: 7, handle: 0 },
      onError: (error) => reported.push(String(error)),
      version: JOURNAL_VERSION,
      onIgnored: ({ message }) => reported.push(message),
    });
  const files = () => readdirSync(join(directory, 'run')).map((file) => file.replace('.journal', ''));

  it('keep what was programmed for the next process of the connection, and of no other', () => {
    openNext().open(of(QUEUES)).vif.credit.store(0, 5);
    expect(openNext().open(of(QUEUES)).vif.credit.view[0]).toBe(5);
    expect(reported).toEqual([]);
    // The same rings, and one queue less: the guest has connected again.
    expect(openNext().open(of(QUEUES.slice(0, 2))).vif.credit.view[0]).toBe(0);
    expect(reported).toEqual([
      'its journal is of another connection: an empty one was begun, and a kill just before may have cost frames',
    ]);
  });

  it('are one for the vif and one a queue; those that a connection does not have are removed', () => {
    writeOther();
    openNext().open(of(QUEUES));
    expect(files()).toEqual(['vif7.0', 'vif7.0.q0', 'vif7.0.q1', 'vif7.0.q2', 'vif7.00', 'vif70.0']);
    openNext().open(of(QUEUES.slice(0, 1)));
    expect(files()).toEqual(['vif7.0', 'vif7.0.q0', 'vif7.00', 'vif70.0']);
  });

  it('are removed with the connection, and leave those of others alone', () => {
    writeOther();
    const journals = openNext();
    journals.open(of(QUEUES));
    journals.remove();
    journals.remove();
    expect(files()).toEqual(['vif7.00', 'vif70.0']);
  });

  it('are removed by a process that did not open them', () => {
    openNext().open(of(QUEUES));
    openNext().remove();
    expect(files()).toEqual([]);
    expect(existsSync(join(directory, 'run'))).toBe(true);
  });

  function writeOther(): void {
    for (const name of ['vif70.0', 'vif7.00']) journalFiles(join(directory, 'run')).open(name, 4096);
  }
});
