import { execFileSync } from 'node:child_process';
import { afterEach, describe, expect, it } from 'vitest';
import { journalFiles } from '../../lib/host/journal-files.js';
import { inOwnNetwork } from '../own-network.js';
import { inDirectory, serve } from './journal-world.js';

// For its mounts, which end with it.
inOwnNetwork(import.meta.url, () => {
  describe('a vif whose disk is of no use is served all the same, and that is reported in one line', () => {
    inDirectory((directory) => {
      const mount = (options: string) =>
        execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', directory()]);
      afterEach(() => execFileSync('umount', ['--lazy', directory()]));

      it.each([
        ['full', 'size=64k', 'ENOSPC'],
        ['read-only', 'ro', 'EROFS'],
      ])('%s', async (_what, options, errno) => {
        mount(options);
        const said = await serve(journalFiles(directory()), 2);
        const line = expect.stringMatching(
          new RegExp(`^ERR_JOURNAL: vif7\\.0: Journal ${directory()}.*\\(${errno}\\)`),
        );
        expect(said).toEqual([[line], [line]]);
      });

      it('full at first, with room later: the next process has its journal', async () => {
        mount('size=64k');
        const said = await serve(journalFiles(directory()), 3, () =>
          execFileSync('mount', ['-o', 'remount,size=8m', directory()]),
        );
        expect(said).toEqual([[expect.stringContaining('ENOSPC')], [], []]);
      });
    });
  });
});
