import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import * as layout from '../../lib/durable/layout.js';
import { RedoLog } from '../../lib/durable/redo.js';
import {
  BATCH_SLOTS,
  FROM_GUEST_ARENA_BYTES,
  TO_GUEST_ARENA_BYTES,
  TO_GUEST_FRAMES,
} from '../../lib/netback/frames/batch-memory.js';
import { MULTICAST_MAX } from '../../lib/netback/guest/multicast.js';
import { STAGED_MAX } from '../../lib/netback/guest/staging.js';
import { QUEUES_MAX } from '../../lib/netback/settings.js';
import * as batch from '../../lib/ports/frame-batch.js';
import { CTRL_RESPONSE_WORDS, HASH_MAPPING_MAX } from '../../lib/protocol/control.js';
import { RX_RING, TX_RING } from '../../lib/protocol/ring.js';
import { HASH_KEY_BYTES } from '../../lib/protocol/toeplitz.js';

const { JOURNAL_VERSION, JOURNAL_VERSION_BEFORE, JOURNAL_VERSIONS, LAYOUTS } = layout;

/** Every word of a layout: its offset and its name. */
function wordsOf(shape: layout.Shape, at = 0, path = ''): string[] {
  if (typeof shape === 'number') return [`${at} ${path} ${shape}`];
  if ('each' in shape)
    return Array.from({ length: shape.count }, (_, i) =>
      wordsOf(shape.each, at + i * shape.each.words, `${path}[${i}]`),
    ).flat();
  return shape.parts.flatMap((part) => wordsOf(part.shape, at + part.at, `${path}.${part.name}`));
}

function digestOf({ words, arenas, bytes }: layout.JournalLayout): string {
  const places = Object.entries(arenas).map(([name, place]) => `${name} ${place.at} ${place.bytes}`);
  const text = [...wordsOf(words), ...places, `${bytes}`].join('\n');
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

describe('the layout of journals', () => {
  // A digest that has changed: give the new layout a new version, and leave the versions that vifd has written as they are.
  it.each([
    [7, 'vif', '9b2b1e30a8998ee4'],
    [7, 'queue', '8385b4796e232805'],
    [8, 'vif', 'd857fb0c54acb244'],
    [8, 'queue', '8385b4796e232805'],
    [8, 'counters', 'bdf947fa2afa81b6'],
  ] as const)('version %i of the journal of a %s never changes', (version, kind, digest) => {
    expect(digestOf(layout.layoutOf(kind, version)!)).toBe(digest);
  });

  it('changes its digest when two words are swapped', () => {
    const { words } = LAYOUTS[7].vif;
    const [first, second, ...rest] = words.parts;
    const swapped = [{ ...second!, at: first!.at }, { ...first!, at: second!.words }, ...rest];
    const other = { ...LAYOUTS[7].vif, words: { ...words, parts: swapped } };
    expect(digestOf(other)).not.toBe(digestOf(LAYOUTS[7].vif));
  });

  it('has all versions since that of 7952fb1, and writes the newest or the one before', () => {
    expect(JOURNAL_VERSIONS).toEqual([7, 8]);
    expect([JOURNAL_VERSION_BEFORE, JOURNAL_VERSION]).toEqual(JOURNAL_VERSIONS.slice(-2));
  });

  it('has no part on another, and 8-byte stores at multiples of 8', () => {
    for (const version of JOURNAL_VERSIONS) {
      for (const { words, arenas, bytes } of Object.values<layout.JournalLayout>(LAYOUTS[version])) {
        let end = 0;
        for (const { at, words: count } of words.parts) {
          expect(at).toBe(end);
          end += count;
        }
        let behind = end * 4;
        for (const place of Object.values(arenas)) {
          expect(place.at % 4096).toBe(0);
          expect(place.at).toBeGreaterThanOrEqual(behind);
          behind = place.at + place.bytes;
        }
        expect(bytes).toBeGreaterThanOrEqual(behind);
      }
      const { at } = LAYOUTS[version].vif.words;
      expect((at.credit + layout.CREDIT.at.end) % 2).toBe(0);
    }
  });

  it('has the figures of the code that stores there', () => {
    const { fromGuestFrames, fromGuestLog, toGuestFrames, toGuestLog, staging } =
      LAYOUTS[JOURNAL_VERSION].queue.words.at;
    const { arenas } = LAYOUTS[JOURNAL_VERSION].queue;
    expect({
      fromGuestLog: fromGuestFrames - fromGuestLog,
      fromGuestFrames: toGuestLog - fromGuestFrames,
      toGuestLog: toGuestFrames - toGuestLog,
      toGuestFrames: staging - toGuestFrames,
      control: LAYOUTS[JOURNAL_VERSION].vif.words.at.resumes - LAYOUTS[JOURNAL_VERSION].vif.words.at.control,
      arenas: [arenas.fromGuest!.bytes, arenas.toGuest!.bytes],
      addresses: layout.MULTICAST.words - layout.MULTICAST.at.addresses,
      key: layout.HASH.at.mapping - layout.HASH.at.key,
      mapping: layout.HASH.words - layout.HASH.at.mapping,
      refs: layout.STAGED.at.writes - layout.STAGED.at.refs,
      rings: (layout.NEGOTIATED.words - layout.NEGOTIATED.at.rings) / 4,
    }).toEqual({
      fromGuestLog: RedoLog.words(BATCH_SLOTS, TX_RING.responseWords),
      fromGuestFrames: batch.FrameBatch.words(BATCH_SLOTS),
      toGuestLog: RedoLog.words(BATCH_SLOTS, RX_RING.responseWords),
      toGuestFrames: batch.FrameBatch.words(TO_GUEST_FRAMES),
      control: RedoLog.words(1, CTRL_RESPONSE_WORDS),
      arenas: [FROM_GUEST_ARENA_BYTES, TO_GUEST_ARENA_BYTES],
      addresses: MULTICAST_MAX * 2,
      key: HASH_KEY_BYTES / 4,
      mapping: HASH_MAPPING_MAX / 4,
      refs: STAGED_MAX,
      rings: QUEUES_MAX,
    });
  });

  it("has a FrameBatch's block as ports see it", () => {
    const { FRAMES_HEADER, FRAME } = layout;
    expect(FRAMES_HEADER.at).toEqual({
      count: batch.FRAMES_COUNT,
      start: batch.FRAMES_START,
      end: batch.FRAMES_END,
      align: batch.FRAMES_ALIGN,
      phase: batch.FRAMES_PHASE,
      more: batch.FRAMES_MORE,
      errno: batch.FRAMES_ERRNO,
      unsorted: batch.FRAMES_HEADER_WORDS - 1,
    });
    expect(FRAME.at).toEqual({
      offset: batch.FRAME_OFFSET,
      length: batch.FRAME_LENGTH,
      firstOp: batch.FRAME_FIRST_OP,
      opCount: batch.FRAME_OP_COUNT,
      status: batch.FRAME_STATUS,
    });
    expect([FRAMES_HEADER.words, FRAME.words]).toEqual([batch.FRAMES_HEADER_WORDS, batch.FRAME_WORDS]);
  });
});
