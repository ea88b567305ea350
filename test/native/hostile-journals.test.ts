import { mkdirSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const QUEUE_JOURNAL_BYTES = LAYOUTS[JOURNAL_VERSION].queue.bytes;

import { describe, expect, it } from 'vitest';
import { JOURNAL_VERSION, LAYOUTS } from '../../lib/durable/layout.js';
import { journalFiles } from '../../lib/host/journal-files.js';
import { readQueueJournal } from '../../lib/netback/state/queue-journal.js';
import { FRAMES, inDirectory, JOURNAL, serve } from './journal-world.js';

describe('a vif whose journal cannot be opened is served all the same, and that is reported in one line', () => {
  inDirectory((directory) => {
    it.each<[what: string, errno: string, prepare: (path: string) => void]>([
      ['a directory in its place', 'EISDIR', (path) => mkdirSync(path)],
    ])('%s', async (_what, errno, prepare) => {
      prepare(join(directory(), JOURNAL));
      const path = join(directory(), JOURNAL);
      const why = `Journal ${path} cannot be used (${errno}): a kill may then cost its guest frames`;
      const line = `ERR_JOURNAL: vif7.0: ${why}. Remove what stands in its place; it is tried again.`;
      expect(await serve(journalFiles(directory()), 2)).toEqual([[line], [line]]);
    });

    it('a symbolic link put in its place while the guest is connected, and it is not followed', async () => {
      const target = join(directory(), 'target');
      writeFileSync(target, 'as it was');
      const said = await serve(journalFiles(directory()), 2, () => {
        rmSync(join(directory(), JOURNAL));
        symlinkSync(target, join(directory(), JOURNAL));
      });
      expect(said).toEqual([[], [expect.stringContaining('(ELOOP)')]]);
      expect(readFileSync(target, 'utf8')).toBe('as it was');
    });

    it('a file where its directory should be', async () => {
      writeFileSync(join(directory(), 'run'), '');
      const said = await serve(journalFiles(join(directory(), 'run')), 1);
      expect(said).toEqual([
        [expect.stringMatching(/^ERR_JOURNAL: .*run\/vif7\.0\.q0\.journal.*\(EEXIST|ENOTDIR\)/)],
      ]);
    });
  });
});

describe('a journal that was spoilt while no backend ran is not used, and that is reported in one line', () => {
  inDirectory((directory) => {
    const path = () => join(directory(), JOURNAL);
    const nobody = { domid: 99, handle: 0, queue: 0, txRingRef: 8, rxRingRef: 9, txPort: 3, rxPort: 4 };
    const damaged = 'its journal is damaged: an empty one was begun, and frames may be lost';
    const foreign =
      'its journal is of another connection: an empty one was begun, and a kill just before may have cost frames';
    it.each<[what: string, why: string, spoil: () => void]>([
      ['cut short', damaged, () => truncateSync(path(), 5000)],
      ['cut to a few bytes', damaged, () => truncateSync(path(), 3)],
      ['made longer', damaged, () => truncateSync(path(), 2 * QUEUE_JOURNAL_BYTES)],
      [
        'overwritten with noise',
        damaged,
        () => writeFileSync(path(), Buffer.alloc(QUEUE_JOURNAL_BYTES, 0xa5)),
      ],
      [
        "overwritten with another guest's",
        foreign,
        () => {
          const bytes = new Uint8Array(QUEUE_JOURNAL_BYTES);
          const { log, frames } = readQueueJournal(bytes, nobody).fromGuest;
          frames.block.set([1, 0, 0, 0, 0, 0, 0, 0, 64, 60]);
          log.commit(FRAMES, Uint32Array.of(1, 2), 2, 0);
          writeFileSync(path(), bytes);
        },
      ],
    ])('%s', async (_what, why, spoil) => {
      const said = await serve(journalFiles(directory()), 3, () => {
        spoil();
      });
      const line = `ERR_JOURNAL: vif7.0: ${why}`;
      expect(said).toEqual([[], [line], [line]]);
    });

    it.each<[what: string, spoil: () => void]>([
      ['emptied', () => truncateSync(path(), 0)],
      ['removed', () => rmSync(path())],
    ])('%s: that is a new one, and nothing to say', async (_what, spoil) => {
      expect(await serve(journalFiles(directory()), 2, spoil)).toEqual([[], []]);
    });
  });
});
