import { beforeEach, describe, expect, it } from 'vitest';
import { DurableWords } from '../../lib/durable/durable-words.js';
import { HASH_BANKS, JOURNAL_VERSION, LAYOUTS } from '../../lib/durable/layout.js';
import { READ_BYTES, TO_GUEST_FRAMES } from '../../lib/netback/frames/batch-memory.js';
import { FlowCounters } from '../../lib/netback/frames/counters.js';
import { HashState } from '../../lib/netback/guest/hash.js';
import { PendingFrames } from '../../lib/netback/queue/pending-frames.js';
import { type SortedQueue, type Sorting, SortingGroup } from '../../lib/netback/queue/sorting.js';
import { BackRing } from '../../lib/netback/ring/back-ring.js';
import { readQueueJournal } from '../../lib/netback/state/queue-journal.js';
import { FRAME_BYTES_MAX, FRAME_LENGTH, FRAME_OFFSET, frameAt } from '../../lib/ports/frame-batch.js';
import { HASH_ALGORITHM_TOEPLITZ, HASH_TYPE_IPV4 } from '../../lib/protocol/control.js';
import { RING_REQ_PROD, RING_RSP_PROD } from '../../lib/protocol/netif.js';
import { RX_RING } from '../../lib/protocol/ring.js';
import { VNET_HEADER_BYTES } from '../../lib/protocol/vnet.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { RSS_KEY } from '../protocol/hash-vectors.js';

const QUEUES = 3;
const FRAME_BYTES = 61;
/** The number of a frame, in its IPv4 source address: by it the hash differs. */
const NUMBER = 28;

/** The state that outlives a process: journals, ring pages, and the guest's settings. */
class Memory {
  readonly journals = Array.from(
    { length: QUEUES },
    () => new Uint8Array(LAYOUTS[JOURNAL_VERSION].queue.bytes),
  );
  readonly pages = Array.from({ length: QUEUES }, () => new Uint8Array(4096));
  readonly hash = DurableWords.ofProcess(HASH_BANKS.words);

  constructor() {
    // The ring of pending frames begins at its wrap.
    for (const page of this.pages) {
      const words = new Uint32Array(page.buffer);
      words[RING_RSP_PROD] = 0xffff_ffff;
      words[RING_REQ_PROD] = 5;
    }
    const hash = new HashState(this.hash, QUEUES);
    hash.setAlgorithm(HASH_ALGORITHM_TOEPLITZ);
    hash.setFlags(HASH_TYPE_IPV4);
    hash.setKey(RSS_KEY, RSS_KEY.length);
  }
}

interface TestQueue extends SortedQueue {
  hasRoom: boolean;
  waitedMs: number;
  sorting: Sorting;
  roused: number;
}

class Instance {
  readonly hypervisor = new ModelHypervisor();
  readonly hash: HashState;
  readonly queues: TestQueue[];

  constructor(memory: Memory, step?: () => void) {
    this.hash = new HashState(memory.hash, QUEUES);
    const group = new SortingGroup(this.hash, this.hypervisor.open(0).clock);
    this.queues = memory.journals.map((bytes, queue) => {
      const identity = { domid: 7, handle: 0, queue, txRingRef: 1, rxRingRef: 2, txPort: 3, rxPort: 4 };
      const journal = readQueueJournal(bytes, identity);
      expect(journal.ignored).toBeUndefined();
      const ring = new BackRing(memory.pages[queue], RX_RING, journal.toGuest.log, step);
      expect(ring.attach()).toBe(true);
      const pending = new PendingFrames(journal.toGuest.frames, ring, step);
      pending.hash(this.hash);
      const one: Omit<TestQueue, 'sorting'> & { sorting?: Sorting } = {
        ...{
          pending,
          counters: new FlowCounters(),
          hasRoom: true,
          waitedMs: 0,
          blocksOthers: false,
          roused: 0,
        },
        rouse: () => void one.roused++,
      };
      one.sorting = group.join(one);
      return one as TestQueue;
    });
  }

  /** As a port reads frames for a queue. `lead` more bytes stand before each. */
  read(queue: number, numbers: readonly number[], { bytes = FRAME_BYTES, lead = 0, keep = true } = {}): void {
    const { pending } = this.queues[queue];
    const { block, arena } = pending.frames;
    let end = 0;
    numbers.forEach((number, i) => {
      const offset = Math.ceil((end + VNET_HEADER_BYTES) / 4096) * 4096 + lead;
      arena.bytes.set(frameOf(number, bytes), offset - VNET_HEADER_BYTES);
      block[frameAt(i) + FRAME_OFFSET] = offset;
      block[frameAt(i) + FRAME_LENGTH] = bytes;
      end = offset + bytes;
    });
    pending.next = 0;
    pending.frames.count = numbers.length;
    pending.hash(this.hash);
    if (keep) pending.record(true);
  }

  /** The queue that a frame is for. */
  queueOf(number: number): number {
    const frame = frameOf(number).subarray(VNET_HEADER_BYTES);
    this.hash.look(frame, 0, frame.length);
    return this.hash.queueOf(this.hash.value);
  }

  /** Numbers of frames that are for a queue. */
  *for(queue: number): Generator<number> {
    for (let number = 0; ; number++) if (this.queueOf(number) === queue) yield number;
  }

  take(queue: number, count: number): number[] {
    const numbers = this.for(queue);
    return Array.from({ length: count }, () => numbers.next().value as number);
  }

  /** The numbers of a queue's pending frames; every byte of each is checked. */
  pending(queue: number): number[] {
    const { frames, next } = this.queues[queue].pending;
    const { block, arena, count } = frames;
    const numbers: number[] = [];
    for (let i = next; i < count; i++) {
      const [offset, bytes] = [block[frameAt(i) + FRAME_OFFSET], block[frameAt(i) + FRAME_LENGTH]];
      if (bytes === 0) continue;
      const frame = arena.bytes.slice(offset - VNET_HEADER_BYTES, offset + bytes);
      const number = frame[VNET_HEADER_BYTES + NUMBER] * 256 + frame[VNET_HEADER_BYTES + NUMBER + 1];
      if (Buffer.compare(frame, frameOf(number, bytes)) !== 0) throw new Error(`frame ${number} is damaged`);
      numbers.push(number);
    }
    return numbers;
  }

  all(): number[] {
    return this.queues.flatMap((_, queue) => this.pending(queue));
  }
}

/** A frame behind its vnet header, each byte of both known. */
function frameOf(number: number, bytes = FRAME_BYTES): Uint8Array {
  const frame = Uint8Array.from({ length: VNET_HEADER_BYTES + bytes }, (_, i) => (i * 7 + number) & 0xff);
  frame.set([8, 0, 0x45, 0], VNET_HEADER_BYTES + 12);
  frame.set([(bytes - 14) >> 8, (bytes - 14) & 0xff], VNET_HEADER_BYTES + 16);
  // Neither a fragment nor TCP.
  frame.set([0, 0, 64, 17], VNET_HEADER_BYTES + 20);
  frame.set([number >> 8, number & 0xff], VNET_HEADER_BYTES + NUMBER);
  return frame;
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);
const sorted = (numbers: readonly number[]) => [...numbers].sort((a, b) => a - b);

describe('sorting a batch into the queues that its frames are for', () => {
  let memory: Memory;
  beforeEach(() => {
    memory = new Memory();
  });

  it('loses nothing when it is killed at any step, repeats one frame at most, and is completed by the next process', () => {
    const numbers = upTo(24);
    let kills = 0;
    for (let step = 1; ; step++) {
      memory = new Memory();
      let left = Number.POSITIVE_INFINITY;
      const instance = new Instance(memory, () => {
        if (--left === 0) throw new Error('killed');
      });
      // One queue has pending frames; in the others the batch starts empty.
      const [already] = instance.take(1, 1);
      instance.read(1, [already]);
      instance.queues[1].sorting.sort(true);
      instance.read(0, numbers);
      left = step;
      let killed = true;
      try {
        instance.queues[0].sorting.sort(true);
        killed = false;
      } catch {
        kills++;
      }
      const next = new Instance(memory);
      const found = next.all();
      expect([...new Set(found)].sort()).toEqual([...new Set([already, ...numbers])].sort());
      expect(found.length - 25).toBeLessThanOrEqual(killed ? 1 : 0);
      for (const { sorting } of next.queues) expect(sorting.sort(true)).toBe(0);
      for (let queue = 0; queue < QUEUES; queue++) {
        const there = next.pending(queue).slice(queue === 1 ? 1 : 0);
        expect([...new Set(there)]).toEqual(numbers.filter((number) => next.queueOf(number) === queue));
        expect(there).toEqual(sorted(there));
      }
      expect(next.all()).toHaveLength(found.length);
      if (!killed) break;
    }
    expect(kills).toBeGreaterThan(45);
  });

  it('moves frames of any length, and those at odd multiples of 2, as they are', () => {
    const instance = new Instance(memory);
    for (const [bytes, lead] of [
      [14 + 20, 0],
      [FRAME_BYTES_MAX - 18, 0],
      [1514, 2],
      [61, 2],
    ]) {
      const numbers = instance.take(2, 2);
      instance.read(0, numbers, { bytes, lead });
      expect(instance.queues[0].sorting.sort(true)).toBe(0);
      expect(instance.pending(2)).toEqual(numbers);
      expect(instance.queues[0].pending.empty).toBe(true);
      instance.queues[2].pending.clear();
    }
  });

  it('waits a moment for a queue that takes frames and has no room, then drops what is for it, and counts that', async () => {
    const instance = new Instance(memory);
    const [from, full] = [instance.queues[0], instance.queues[2]];
    instance.read(0, instance.take(2, TO_GUEST_FRAMES));
    expect(from.sorting.sort(true)).toBe(0);
    expect(full.roused).toBe(1);
    const mixed = [
      ...instance.take(1, 1),
      ...instance.take(2, 1),
      ...instance.take(1, 2).slice(1),
      ...instance.take(0, 1),
    ];
    instance.read(0, mixed);
    const waitMs = from.sorting.sort(true);
    expect(waitMs).toBeGreaterThan(0);
    expect([instance.pending(0), instance.pending(1)]).toEqual([mixed.slice(1), mixed.slice(0, 1)]);
    // A queue that has room again lets the queues that wait for it go first.
    expect([full.sorting.waitForRoom, instance.queues[1].sorting.waitForRoom]).toEqual([true, false]);
    full.sorting.rouseWaiting();
    instance.queues[1].sorting.rouseWaiting();
    expect(instance.queues.map(({ roused }) => roused)).toEqual([1, 1, 1]);
    await instance.hypervisor.advance(waitMs);
    expect(from.sorting.sort(true)).toBe(0);
    expect([instance.pending(0), instance.pending(1)]).toEqual([[mixed[3]], [mixed[0], mixed[2]]]);
    expect([full.counters.dropped, full.pending.size]).toEqual([1, TO_GUEST_FRAMES]);
    expect(full.sorting.waitForRoom).toBe(false);
  });

  it('continues when there is room again', () => {
    const instance = new Instance(memory);
    const [from, full] = [instance.queues[0], instance.queues[2]];
    instance.read(0, instance.take(2, TO_GUEST_FRAMES));
    from.sorting.sort(true);
    instance.read(0, instance.take(2, 3));
    expect(from.sorting.sort(true)).toBeGreaterThan(0);
    full.pending.clear();
    full.sorting.rouseOthers();
    expect(from.roused).toBe(1);
    expect(from.sorting.sort(true)).toBe(0);
    expect([instance.pending(2), full.counters.dropped]).toEqual([instance.take(2, 3), 0]);
  });

  it('does not wait for a queue that takes nothing', () => {
    const instance = new Instance(memory);
    const [from, full] = [instance.queues[0], instance.queues[2]];
    // A few of the longest have no room either.
    const longest = FRAME_BYTES_MAX - 18;
    const most = Math.floor((READ_BYTES - 4096) / (17 * 4096));
    instance.read(0, instance.take(2, most), { bytes: longest });
    from.sorting.sort(true);
    expect(full.pending.size).toBe(most);
    Object.assign(full, { hasRoom: false, waitedMs: 1000 });
    instance.read(0, instance.take(2, 2), { bytes: longest });
    expect(from.sorting.sort(true)).toBe(0);
    expect([from.pending.empty, full.counters.dropped, full.pending.size]).toEqual([true, 2, most]);
  });

  it('leaves frames where they were read when the guest does not choose any more', () => {
    const instance = new Instance(memory);
    instance.read(0, upTo(9));
    instance.hash.setFlags(0);
    expect(instance.queues[0].sorting.sort(true)).toBe(0);
    expect(instance.pending(0)).toEqual(upTo(9));
    expect(instance.queues[0].pending.unsorted).toBe(0);
  });
});

it('clears the GSO of a frame that was moved here before it reads the next frames', () => {
  const instance = new Instance(new Memory());
  const [from, to] = instance.queues;
  // A new process clears all marks before its first read.
  to.pending.beginRead();
  instance.read(0, upTo(2));
  const { pending } = from;
  pending.segment(1, 1 | (1448 << 16));
  expect(to.pending.append(pending, 0) && to.pending.append(pending, 1)).toBe(true);
  expect([...to.pending.gsos.subarray(0, 2)]).toEqual([0, 1 | (1448 << 16)]);
  to.pending.clear();
  to.pending.beginRead();
  expect([...to.pending.gsos.subarray(0, 2)]).toEqual([0, 0]);
});
