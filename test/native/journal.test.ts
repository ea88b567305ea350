import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const QUEUE_JOURNAL_BYTES = LAYOUTS[JOURNAL_VERSION].queue.bytes;

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { JOURNAL_VERSION, LAYOUTS } from '../../lib/durable/layout.js';
import { NONE_PENDING } from '../../lib/durable/redo.js';
import { journalFiles } from '../../lib/host/journal-files.js';
import { readQueueJournal } from '../../lib/netback/state/queue-journal.js';

const identity = { domid: 7, handle: 0, queue: 0, txRingRef: 8, rxRingRef: 9, txPort: 3, rxPort: 4 };
/** In words: the state of the log that is first in the file. */
const AT_FROM_GUEST = 16;

describe('journal files', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'vifd-journal-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('are made with their directory, zeroed, and are the same memory for the next process', () => {
    const journals = journalFiles(join(directory, 'run'));
    const page = journals.open('vif7.0.q0', QUEUE_JOURNAL_BYTES).bytes;
    expect([page.length, page.every((byte) => byte === 0)]).toEqual([QUEUE_JOURNAL_BYTES, true]);
    readQueueJournal(page, identity).fromGuest.log.commit(5, Uint32Array.of(11, 12), 2, NONE_PENDING);
    const { fromGuest, ignored } = readQueueJournal(
      journals.open('vif7.0.q0', QUEUE_JOURNAL_BYTES).bytes,
      identity,
    );
    expect(ignored).toBe(undefined);
    expect(fromGuest.log.committed(5, 2)).toBe(2);
    expect([fromGuest.log.responses[0], fromGuest.log.responses[1]]).toEqual([11, 12]);
    expect(statSync(join(directory, 'run/vif7.0.q0.journal')).mode & 0o777).toBe(0o600);
    journals.remove('vif7.0.q0');
    journals.remove('vif7.0.q0');
    expect(readdirSync(join(directory, 'run'))).toEqual([]);
  });

  it('of another connection are ignored, and reported', () => {
    const journals = journalFiles(directory);
    readQueueJournal(journals.open('v', QUEUE_JOURNAL_BYTES).bytes, identity).fromGuest.log.commit(
      5,
      Uint32Array.of(11),
      1,
      NONE_PENDING,
    );
    const { fromGuest, ignored } = readQueueJournal(journals.open('v', QUEUE_JOURNAL_BYTES).bytes, {
      ...identity,
      txRingRef: 10,
    });
    expect(ignored).toBe('foreign');
    expect(fromGuest.log.committed(5, 1)).toBe(0);
  });

  it.each([
    ['truncated', Buffer.alloc(100, 0x4a)],
    ['of noise', Buffer.from(Array.from({ length: QUEUE_JOURNAL_BYTES }, (_, i) => (i * 73) & 0xff))],
    ['longer than a journal', Buffer.alloc(3 * QUEUE_JOURNAL_BYTES, 0xff)],
  ])('%s are never acted upon', (_what, bytes) => {
    writeFileSync(join(directory, 'v.journal'), bytes);
    const { fromGuest, toGuest, ignored } = readQueueJournal(
      journalFiles(directory).open('v', QUEUE_JOURNAL_BYTES).bytes,
      identity,
    );
    expect(ignored).toBe('damaged');
    expect([fromGuest.log.committed(0, 256), toGuest.log.committed(0, 256)]).toEqual([0, 0]);
    expect([fromGuest.log.firstPending, toGuest.log.firstPending]).toEqual([NONE_PENDING, NONE_PENDING]);
  });

  it.each([
    ['shorter', QUEUE_JOURNAL_BYTES - 1],
    ['longer', QUEUE_JOURNAL_BYTES + 1],
  ])(
    'of our connection and %s than they were are never acted upon: frames that they list may be missing',
    (_what, bytes) => {
      const journals = journalFiles(directory);
      const { fromGuest } = readQueueJournal(journals.open('v', QUEUE_JOURNAL_BYTES).bytes, identity);
      fromGuest.frames.block.set([1, 0, 0, 0, 0, 0, 0, 0, 64, 60]);
      fromGuest.log.commit(5, Uint32Array.of(11), 1, 0);
      truncateSync(join(directory, 'v.journal'), bytes);
      const next = readQueueJournal(journals.open('v', QUEUE_JOURNAL_BYTES).bytes, identity);
      expect(next.ignored).toBe('damaged');
      expect([next.fromGuest.log.committed(5, 1), next.fromGuest.log.firstPending]).toEqual([
        0,
        NONE_PENDING,
      ]);
      expect(readQueueJournal(journals.open('v', QUEUE_JOURNAL_BYTES).bytes, identity).ignored).toBe(
        undefined,
      );
    },
  );

  it('with a count beyond the log, or beyond what the guest asked, are not acted upon', () => {
    const page = journalFiles(directory).open('v', QUEUE_JOURNAL_BYTES).bytes;
    const { log } = readQueueJournal(page, identity).fromGuest;
    log.commit(5, new Uint32Array(128), 128, NONE_PENDING);
    expect(log.committed(5, 128)).toBe(128);
    expect(log.committed(5, 127)).toBe(0);
    expect(log.committed(6, 128)).toBe(0);
    new Uint32Array(page.buffer)[AT_FROM_GUEST] |= 0x1ff;
    expect(log.committed(5, 512)).toBe(0);
  });

  it('keep frames for the next process, at just their place in the ring', () => {
    const page = journalFiles(directory).open('v', QUEUE_JOURNAL_BYTES).bytes;
    const first = readQueueJournal(page, identity).toGuest;
    first.frames.block.set([1, 0, 0, 0, 0, 0, 0, 0, 64, 60]);
    first.log.setPending(0xffffffff, 0);
    const { toGuest, ignored } = readQueueJournal(page, identity);
    expect(ignored).toBe(undefined);
    expect([toGuest.log.pendingAt(0xffffffff), toGuest.log.pendingAt(0)]).toEqual([0, NONE_PENDING]);
    expect([...toGuest.frames.block.subarray(8, 10)]).toEqual([64, 60]);
    first.log.commit(0xffffffff, new Uint32Array(2), 1, 5);
    expect(first.log.pendingAt(0)).toBe(5);
    first.log.settle();
    expect([first.log.pendingAt(0), first.log.committed(0xffffffff, 1)]).toEqual([5, 0]);
    first.log.clear();
    expect(first.log.firstPending).toBe(NONE_PENDING);
  });

  it.each([
    ['more frames than there is room for', [129]],
    ['a frame outside the arena', [1, 0, 0, 0, 0, 0, 0, 0, 0xfffff000, 60]],
    ['a frame without room for its header', [1, 0, 0, 0, 0, 0, 0, 0, 10, 60]],
    ['a frame longer than frames are', [1, 0, 0, 0, 0, 0, 0, 0, 64, 65_554]],
    ['a frame in pages that are mapped no more', [1, 0, 0, 0, 0, 0, 0, 0, 64, 60, 0, 1]],
  ])('that keep %s are ignored as damaged', (_what, block) => {
    const page = journalFiles(directory).open('v', QUEUE_JOURNAL_BYTES).bytes;
    const { fromGuest } = readQueueJournal(page, identity);
    fromGuest.frames.block.set(block);
    fromGuest.log.setPending(5, 0);
    expect(readQueueJournal(page, identity)).toMatchObject({ ignored: 'damaged' });
    expect(readQueueJournal(page, identity)).toMatchObject({ ignored: undefined });
    expect(fromGuest.log.firstPending).toBe(NONE_PENDING);
  });

  it('that cannot be had are an error with the path and the errno', () => {
    const error = (path: string, errno: string) =>
      expect.objectContaining({ code: 'ERR_JOURNAL', errno, message: expect.stringContaining(path) });
    writeFileSync(join(directory, 'file'), '');
    expect(() => journalFiles(join(directory, 'file/run')).open('v', QUEUE_JOURNAL_BYTES)).toThrow(
      error('file/run/v.journal', 'ENOTDIR'),
    );
    symlinkSync('/etc/passwd', join(directory, 'v.journal'));
    expect(() => journalFiles(directory).open('v', QUEUE_JOURNAL_BYTES)).toThrow(error('v.journal', 'ELOOP'));
    expect(readFileSync('/etc/passwd', 'utf8')).toContain('root');
  });
});
