import { mkdtempSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Journals, memoryJournals } from '../../lib/durable/journal.js';
import { LAYOUTS } from '../../lib/durable/layout.js';
import { openJournal } from '../../lib/durable/open-journal.js';
import { VifdError } from '../../lib/errors.js';
import { journalFiles } from '../../lib/host/journal-files.js';
import type { FrontendSettings } from '../../lib/netback/settings.js';
import { VifJournals } from '../../lib/netback/state/connection-journals.js';
import { whyNoAddon } from '../native/reason.js';

const VIF = { id: 'vif7.0', domid: 7, handle: 0 } as const;
const SETTINGS = {
  queues: [{ txRingRef: 8, rxRingRef: 9, txPort: 3, rxPort: 4 }],
} as unknown as FrontendSettings;

/** The words of a journal as they stand in its memory. */
const wordsIn = (journals: Journals, name: string, kind: 'vif' | 'queue') =>
  new Uint32Array(journals.open(name, LAYOUTS[8][kind].bytes).bytes.buffer);

function read(journals: Journals, version: 7 | 8): { said: string[]; hash: number; resumes: number } {
  const said: string[] = [];
  const reader = new VifJournals({
    journals,
    vif: VIF,
    version,
    onError: (error) => said.push(String(error)),
    onIgnored: ({ code, message }) => said.push(`${code}: ${message}`),
  });
  const { vif, close } = reader.open(SETTINGS);
  const found = { said, hash: vif.hash.view[1]!, resumes: vif.resumes.view[0]! };
  close();
  return found;
}

describe('a journal of a version that this vifd does not know', () => {
  it.each(['vif7.0', 'vif7.0.q0'])('is reported with both versions, and begun anew: %s', (name) => {
    const journals = memoryJournals();
    read(journals, 8);
    wordsIn(journals, name, name === 'vif7.0' ? 'vif' : 'queue')[1] = 12;
    expect(read(journals, 8).said).toEqual([
      expect.stringMatching(
        /^ERR_JOURNAL_VERSION: its journal has version 12, and this vifd reads 7 and 8: .*--journal-version 8$/,
      ),
    ]);
    expect(read(journals, 8).said).toEqual([]);
  });
});

describe.skipIf(whyNoAddon())('a journal file of another length', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'vifd-versions-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));
  const file = (name: string) => join(directory, `${name}.journal`);

  it.each(['vif', 'queue'] as const)(
    'of a %s and an unknown version is reported as of that version',
    (kind) => {
      const journals = journalFiles(directory);
      const name = kind === 'vif' ? 'vif7.0' : 'vif7.0.q0';
      read(journals, 8);
      wordsIn(journals, name, kind)[1] = 9;
      truncateSync(file(name), LAYOUTS[8][kind].bytes + 4096);
      expect(read(journals, 8).said).toEqual([expect.stringContaining('its journal has version 9,')]);
      expect(statSync(file(name)).size).toBe(LAYOUTS[8][kind].bytes);
    },
  );

  it('and a version that is known is damaged', () => {
    const journals = journalFiles(directory);
    read(journals, 8);
    truncateSync(file('vif7.0'), 8192);
    expect(read(journals, 8).said).toEqual([expect.stringMatching(/^ERR_JOURNAL: its journal is damaged/)]);
  });

  it('of a conversion that a kill ended goes with the next one, or with the journal', () => {
    const journals = journalFiles(directory);
    journals.replace('vif7.0', Uint8Array.of(1));
    expect(readdirSync(directory)).toEqual(['vif7.0.journal']);
    const left = `${file('vif7.0')}.new`;
    writeFileSync(left, 'left');
    expect(journals.names('vif7.0')).toEqual(['vif7.0']);
    journals.replace('vif7.0', Uint8Array.of(2));
    expect(readdirSync(directory)).toEqual(['vif7.0.journal']);
    writeFileSync(left, 'left');
    journals.remove('vif7.0');
    expect(readdirSync(directory)).toEqual([]);
  });
});

describe('a journal of an earlier version for whose conversion there is no room', () => {
  it('is used as it is, and converted by the next process that has room', () => {
    const journals = memoryJournals();
    read(journals, 7);
    const { hash, resumes } = LAYOUTS[7].vif.words.at;
    const words = wordsIn(journals, 'vif7.0', 'vif');
    words[hash + 1] = 1;
    words[resumes] = 5;
    const full: Journals = {
      ...journals,
      replace: () => {
        throw new VifdError('ERR_JOURNAL', 'Journal cannot be used (ENOSPC).', { errno: 'ENOSPC' });
      },
    };
    expect(openJournal(full, { name: 'vif7.0', kind: 'vif', version: 8 }).version).toBe(7);
    expect(read(full, 8)).toEqual({ said: [], hash: 1, resumes: 5 });
    expect(wordsIn(journals, 'vif7.0', 'vif')[1]).toBe(7);
    expect(read(journals, 8)).toEqual({ said: [], hash: 1, resumes: 5 });
    expect(wordsIn(journals, 'vif7.0', 'vif')[1]).toBe(8);
  });

  it('is reported where an older vifd is to be started next, and converted as soon as there is room', () => {
    const journals = memoryJournals();
    read(journals, 8);
    let isFull = true;
    const disk: Journals = {
      ...journals,
      replace: (name, content) => {
        if (isFull)
          throw new VifdError('ERR_JOURNAL', 'Journal cannot be used (ENOSPC).', { errno: 'ENOSPC' });
        journals.replace(name, content);
      },
    };
    const said: unknown[] = [];
    const parts = { journals: disk, vif: VIF, version: 7, onIgnored: () => said.push('ignored') } as const;
    const reader = new VifJournals({ ...parts, onError: (error) => said.push(error) });
    const connection = reader.open(SETTINGS);
    connection.vif.resumes.store(0, 5);
    expect([connection.whole, said]).toEqual([
      false,
      [
        expect.objectContaining({
          ...{ code: 'ERR_JOURNAL', errno: 'ENOSPC' },
          message: expect.stringMatching(
            /^its journal has version 8 and could not be converted to 7; do not start an older vifd/,
          ),
        }),
      ],
    ]);
    expect(() => connection.renew()).toThrow('ENOSPC');
    isFull = false;
    connection.renew();
    expect(wordsIn(journals, 'vif7.0', 'vif')[1]).toBe(7);
    const next = reader.open(SETTINGS);
    expect([next.whole, next.vif.resumes.view[0], said.length]).toEqual([true, 5, 1]);
  });
});
