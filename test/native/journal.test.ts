import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { journalFiles } from '../../lib/journal-files.js';
import { JOURNAL_BYTES, readJournal } from '../../lib/netback/journal.js';

const identity = { domid: 7, handle: 0, queue: 0, txRingRef: 8, rxRingRef: 9, txPort: 3, rxPort: 4 };

describe('journal files', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'vifd-journal-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('are made with their directory, zeroed, and are the same memory for the next life', () => {
    const journals = journalFiles(join(directory, 'run'));
    const page = journals.open('vif7.0.q0');
    expect(page).toEqual(new Uint8Array(JOURNAL_BYTES));
    readJournal(page, identity).tx.commit(5, Uint32Array.of(11, 12), 2, undefined);
    const { tx, ignored } = readJournal(journals.open('vif7.0.q0'), identity);
    expect(ignored).toBe(false);
    expect(tx.committed(5, 2)).toBe(2);
    expect([...tx.responses.subarray(0, 2)]).toEqual([11, 12]);
    expect(statSync(join(directory, 'run/vif7.0.q0.journal')).mode & 0o777).toBe(0o600);
    journals.remove('vif7.0.q0');
    journals.remove('vif7.0.q0');
    expect(readdirSync(join(directory, 'run'))).toEqual([]);
  });

  it('of another connection are ignored, and said to be', () => {
    const journals = journalFiles(directory);
    readJournal(journals.open('v'), identity).tx.commit(5, Uint32Array.of(11), 1, undefined);
    const { tx, ignored } = readJournal(journals.open('v'), { ...identity, txRingRef: 10 });
    expect(ignored).toBe(true);
    expect(tx.committed(5, 1)).toBe(0);
  });

  it.each([
    ['truncated', Buffer.alloc(100, 0x4a)],
    ['of noise', Buffer.from(Array.from({ length: JOURNAL_BYTES }, (_, i) => (i * 73) & 0xff))],
    ['longer than a page', Buffer.alloc(3 * JOURNAL_BYTES, 0xff)],
  ])('%s are never acted upon', (_what, bytes) => {
    writeFileSync(join(directory, 'v.journal'), bytes);
    const { tx, rx, ignored } = readJournal(journalFiles(directory).open('v'), identity);
    expect(ignored).toBe(true);
    expect([tx.committed(0, 256), rx.committed(0, 256)]).toEqual([0, 0]);
  });

  it('with a count beyond the log, or beyond what the guest asked, are not acted upon', () => {
    const page = journalFiles(directory).open('v');
    const { tx } = readJournal(page, identity);
    tx.commit(5, new Uint32Array(128), 128, undefined);
    expect(tx.committed(5, 127)).toBe(0);
    expect(tx.committed(6, 128)).toBe(0);
    new Uint32Array(page.buffer)[17] = 0xffffffff;
    expect(tx.committed(5, 256)).toBe(0);
  });

  it('that cannot be had are an error with the path and the errno', () => {
    const error = (path: string, errno: string) =>
      expect.objectContaining({ code: 'ERR_JOURNAL', errno, message: expect.stringContaining(path) });
    writeFileSync(join(directory, 'file'), '');
    expect(() => journalFiles(join(directory, 'file/run')).open('v')).toThrow(
      error('file/run/v.journal', 'ENOTDIR'),
    );
    symlinkSync('/etc/passwd', join(directory, 'v.journal'));
    expect(() => journalFiles(directory).open('v')).toThrow(error('v.journal', 'ELOOP'));
    expect(readFileSync('/etc/passwd', 'utf8')).toContain('root');
  });
});
