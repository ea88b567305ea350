import { expect } from 'vitest';
import { DurableWords } from '../../lib/durable/durable-words.js';
import { HASH_BANKS, JOURNAL_VERSION, LAYOUTS, MULTICAST } from '../../lib/durable/layout.js';
import { Conform, type GuestCapabilities, guestOffloads } from '../../lib/netback/frames/conform.js';
import { FlowCounters } from '../../lib/netback/frames/counters.js';
import { CUT } from '../../lib/netback/frames/deliverable.js';
import { Hooks } from '../../lib/netback/frames/hooks.js';
import { HashState } from '../../lib/netback/guest/hash.js';
import { MulticastFilter } from '../../lib/netback/guest/multicast.js';
import { SortingGroup } from '../../lib/netback/queue/sorting.js';
import { ToGuest } from '../../lib/netback/queue/to-guest.js';
import { BackRing } from '../../lib/netback/ring/back-ring.js';
import type { PumpResult } from '../../lib/netback/ring/turns.js';
import type { FrontendSettings } from '../../lib/netback/settings.js';
import { readQueueJournal } from '../../lib/netback/state/queue-journal.js';
import * as batch from '../../lib/ports/frame-batch.js';
import type { PortIo } from '../../lib/ports/port.js';
import { HASH_ALGORITHM_TOEPLITZ, HASH_TYPES } from '../../lib/protocol/control.js';
import * as netif from '../../lib/protocol/netif.js';
import { RX_RING } from '../../lib/protocol/ring.js';
import { VNET_HEADER_BYTES } from '../../lib/protocol/vnet.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { type Clock, OP_WORDS, OPS_COUNT, OPS_HEADER_WORDS } from '../../lib/xen/seam.js';
import { RSS_KEY } from '../protocol/hash-vectors.js';
import { CHOICE_AT, type Load, type Round } from './to-guest-loads.js';

const { FRAMES_COUNT, FRAMES_END, FRAMES_ERRNO, FRAMES_MORE, FRAMES_START } = batch;
const { FRAME_FIRST_OP, FRAME_LENGTH, FRAME_OFFSET, FRAME_OP_COUNT, FRAME_STATUS } = batch;
const { RING_HEADER_WORDS, RING_PAGE_BYTES, RING_REQ_PROD, RING_RSP_EVENT, RING_RSP_PROD } = netif;
const { RX_RING_SIZE, RX_SLOT_WORDS } = netif;
const GUEST = 7;
/** Of the guest's memory, which its buffers use again and again. */
const PAGES = 16;
/** Turns of a round; the guest's rings are empty or its frames are delivered before. */
const TURNS_MAX = 60;
const JOURNAL = LAYOUTS[JOURNAL_VERSION].queue;

class Killed extends Error {}

/** A frame behind its vnet header, and by how much the port moves it. */
export interface Waiting {
  readonly bytes: Uint8Array;
  readonly shift: number;
}

/** What a round wrote, of everything that another process, the guest or the port may read, and how it went. */
export interface Seen {
  /** Before and after each copy, for each queue: operations, ring page, and the words of the journal. */
  readonly copies: readonly string[];
  /** How each turn ended. */
  readonly turns: readonly string[];
  readonly pages: readonly string[];
  readonly counters: object;
  readonly notified: readonly number[];
  readonly guestMemory: Uint8Array;
  readonly pending: readonly number[];
  /** By queue. */
  readonly journal0: Uint8Array;
  readonly journal1: Uint8Array | undefined;
  readonly isStopped: boolean;
}

/** A queue of the guest: what outlives a process, and the process that serves it. */
interface Queue {
  readonly journal: Uint8Array;
  readonly page: Uint8Array;
  readonly words: Uint32Array;
  readonly counters: FlowCounters;
  readonly waiting: Waiting[];
  notified: number;
  toGuest: ToGuest | undefined;
}

/** A guest with one or two queues and what serves its to-guest direction, on a hypervisor of their own. */
export class Side {
  readonly hash: HashState;
  readonly #load: Load;
  readonly #hypervisor: ModelHypervisor;
  readonly #memory: Uint8Array;
  readonly #refs: readonly number[];
  readonly #hashWords = DurableWords.ofProcess(HASH_BANKS.words);
  readonly #filter = new MulticastFilter(DurableWords.ofProcess(MULTICAST.words));
  readonly #hooks: Hooks;
  readonly #clock: Clock;
  readonly #capabilities: GuestCapabilities;
  readonly #queues: readonly Queue[];
  readonly #due = new Set<Queue>();
  readonly #copies: string[] = [];
  readonly #turns: string[] = [];
  #hook: Disposable | undefined;
  #nowMs = 0;
  #copyFails = 0;
  #kill: Round['kill'];
  #buffersPosted = 0;
  #isStopped = false;
  /** How many batches were read from the port. */
  reads = 0;

  constructor(load: Load) {
    this.#load = load;
    const fails = () => this.#copyFails > 0 && this.#copyFails-- > 0;
    const host = (call: string) => (call === 'copy' && fails() ? 'ENOMEM' : undefined);
    const { grantFailsEvery } = load;
    const faults = { host, ...(grantFailsEvery === undefined ? {} : { grantFailsEvery }) };
    this.#hypervisor = new ModelHypervisor({ seed: 1, faults });
    const pages = this.#hypervisor.open(GUEST).shares!.allocate(PAGES);
    this.#memory = pages.bytes;
    this.#refs = Array.from({ length: PAGES }, (_, page) => pages.grant(page, 0, 'write'));
    this.#clock = { now: () => this.#nowMs, after: () => expect.unreachable('no timer is needed') };
    this.#hooks = new Hooks(this.#clock, (error) => expect.unreachable(error.message));
    const settings = load.guest as FrontendSettings;
    this.#capabilities = {
      scatterGather: load.guest.scatterGather,
      conform: new Conform(guestOffloads(settings)),
      xdpHeadroom: 0,
    };
    this.#filter.begin();
    this.hash = new HashState(this.#hashWords, load.queues);
    this.hash.setKey(RSS_KEY, RSS_KEY.length);
    this.#queues = Array.from({ length: load.queues }, () => newQueue(load.start));
    this.#attach();
  }

  /** Lets a round happen. @param frames that arrive in the port. */
  round(round: Round, frames: readonly Waiting[]): Seen {
    this.#copies.length = 0;
    this.#turns.length = 0;
    this.#prepare(round);
    const queue = this.#queues[round.queue % this.#queues.length];
    queue.waiting.push(...frames);
    for (const each of this.#queues) this.#due.add(each);
    const first = this.#queues.map(({ words }) => words[RING_RSP_PROD]);
    for (let turn = 0; turn < TURNS_MAX && this.#due.size > 0 && !this.#isStopped; turn++) this.#turn();
    if (!this.#isStopped) expect(this.#due.size, 'queues whose turns do not end').toBe(0);
    for (const [i, queue] of this.#queues.entries()) expectOwnErrors(queue, first[i]);
    return this.#seen();
  }

  /** Frames whose grant failed. */
  get errors(): number {
    return this.#queues.reduce((sum, { counters }) => sum + counters.errors, 0);
  }

  #prepare(round: Round): void {
    this.#nowMs += round.advanceMs;
    this.#copyFails = round.copyFails;
    this.#kill = round.kill;
    this.#capabilities.xdpHeadroom = round.headroom;
    this.#filter.requested = round.filter;
    this.#hook?.[Symbol.dispose]();
    this.#hook = round.hook ? this.#hooks.add(choose) : undefined;
    if (round.hashes !== undefined) {
      this.hash.setAlgorithm(HASH_ALGORITHM_TOEPLITZ);
      this.hash.setFlags(round.hashes ? HASH_TYPES : 0);
    }
    for (const queue of this.#queues) this.#post(queue, round);
  }

  /** Posts buffers, as many as the ring has room for. */
  #post({ words }: Queue, { buffers, badBuffer, notifiesAt }: Round): void {
    let index = words[RING_REQ_PROD];
    const room = RX_RING_SIZE - ((index - words[RING_RSP_PROD]) >>> 0);
    for (let i = 0; i < Math.min(buffers, room); i++) {
      const ref = i === badBuffer ? 0xffff : this.#refs[this.#buffersPosted++ % PAGES];
      const at = RING_HEADER_WORDS + (index & (RX_RING_SIZE - 1)) * RX_SLOT_WORDS;
      // The half beside the identifier is padding, which the guest may leave as it likes.
      words.set([((index * 7) & 0xffff) | 0xabcd_0000, ref], at);
      index = (index + 1) >>> 0;
    }
    words[RING_REQ_PROD] = index;
    words[RING_RSP_EVENT] = words[RING_RSP_PROD] + notifiesAt;
  }

  #turn(): void {
    const [queue] = this.#due;
    this.#due.delete(queue);
    const { toGuest } = queue;
    if (queue.waiting.length > 0) toGuest!.offer();
    let result: PumpResult;
    try {
      result = toGuest!.pump(() => void queue.notified++);
    } catch (error) {
      if (!(error instanceof Killed)) throw error;
      this.#turns.push('killed');
      this.#attach();
      for (const each of this.#queues) this.#due.add(each);
      return;
    }
    const text = typeof result === 'string' ? result : Object.entries(result).flat().join(': ');
    this.#turns.push(`${this.#queues.indexOf(queue)} ${text}`);
    if (/^(more|fault)/.test(text)) this.#due.add(queue);
    this.#isStopped ||= /^stop/.test(text);
  }

  #seen(): Seen {
    const queues = this.#queues;
    return {
      copies: [...this.#copies],
      turns: [...this.#turns],
      pages: queues.map(({ page }) => textOf(page)),
      counters: queues.map(({ counters }) => counters.snapshot()),
      notified: queues.map(({ notified }) => notified),
      guestMemory: this.#memory,
      pending: queues.map(({ toGuest }) => toGuest!.pendingFrames),
      journal0: queues[0].journal,
      journal1: queues[1]?.journal,
      isStopped: this.#isStopped,
    };
  }

  /** Starts a process that serves the guest, with what an earlier one left. */
  #attach(): void {
    const xen = this.#hypervisor.open(0);
    const sorting = this.#queues.length > 1 ? new SortingGroup(this.hash, this.#clock) : undefined;
    for (const [index, queue] of this.#queues.entries()) {
      const identity = { domid: GUEST, handle: 0, txRingRef: 1, rxRingRef: 2, txPort: 3, rxPort: 4 };
      const journal = readQueueJournal(queue.journal, { ...identity, queue: index });
      expect(journal.ignored).toBeUndefined();
      const ring = new BackRing(queue.page, RX_RING, journal.toGuest.log);
      expect(ring.attach()).toBe(true);
      const toGuest = new ToGuest({
        ...{ ring, frames: journal.toGuest.frames, grants: xen.grants, domid: GUEST, payload: 'copy' },
        ...{ hooks: this.#hooks, multicast: this.#filter, hash: this.hash, counters: queue.counters },
        ...{ capabilities: this.#capabilities, clock: this.#clock, rxNotify: true, sorting },
        stalls: { onStall: () => {}, onRecovery: () => {} },
      });
      this.#watch(toGuest, queue);
      toGuest.start(this.#port(queue, toGuest.frames), () => void this.#due.add(queue));
      queue.toGuest = toGuest;
    }
  }

  /** Records what the process has written before and after each copy, and kills it there. */
  #watch({ grants, frames }: ToGuest, queue: Queue): void {
    const copyToGuest = grants.copyToGuest.bind(grants);
    const { ops } = grants;
    const kills = (when: Round['kill']) => {
      const words = queue.journal.subarray(0, JOURNAL.words.words * 4);
      const operations = ops.subarray(0, OPS_HEADER_WORDS + ops[OPS_COUNT] * OP_WORDS);
      this.#copies.push(`${[...operations]} ${textOf(queue.page)} ${textOf(words)}`);
      if (this.#kill !== when) return;
      this.#kill = undefined;
      throw new Killed();
    };
    grants.copyToGuest = () => {
      expectUnmarked(frames);
      kills('before');
      copyToGuest();
      kills('after');
    };
  }

  #port({ waiting }: Queue, frames: batch.FrameBatch): PortIo {
    const { block, arena, capacity } = frames;
    const read = () => {
      let cursor = block[FRAMES_START];
      let count = 0;
      for (; count < capacity && waiting.length > 0; count++) {
        const { bytes, shift } = waiting[0];
        const offset = batch.framePlace(block, cursor) + shift;
        const length = bytes.length - VNET_HEADER_BYTES;
        if (offset + length > block[FRAMES_END]) break;
        waiting.shift();
        arena.bytes.set(bytes, offset - VNET_HEADER_BYTES);
        const at = batch.frameAt(count);
        block[at + FRAME_OFFSET] = offset;
        block[at + FRAME_LENGTH] = length;
        if (this.#load.portClears) {
          for (const word of [FRAME_FIRST_OP, FRAME_OP_COUNT, FRAME_STATUS]) block[at + word] = 0;
        }
        cursor = offset + length;
      }
      block[FRAMES_COUNT] = count;
      block[FRAMES_MORE] = waiting.length > 0 ? 1 : 0;
      block[FRAMES_ERRNO] = 0;
      if (count > 0) this.reads++;
      return count;
    };
    return { read, write: () => 0, wantReadable: () => {}, close: () => {} };
  }
}

function newQueue(start: number): Queue {
  const page = new Uint8Array(RING_PAGE_BYTES);
  const words = new Uint32Array(page.buffer);
  for (const word of [RING_REQ_PROD, RING_RSP_PROD]) words[word] = start;
  const journal = new Uint8Array(JOURNAL.bytes);
  const counters = new FlowCounters();
  return { journal, page, words, counters, waiting: [], notified: 0, toGuest: undefined };
}

/** Each error among the responses from index `first` on has the identifier of the slot's request, as `#post` writes it. */
function expectOwnErrors({ words }: Queue, first: number): void {
  for (let index = first; index !== words[RING_RSP_PROD]; index = (index + 1) >>> 0) {
    const at = RING_HEADER_WORDS + (index & (RX_RING_SIZE - 1)) * RX_SLOT_WORDS;
    if (words[at + 1] === ((netif.RSP_ERROR & 0xffff) << 16) >>> 0)
      expect(words[at], `slot ${index}`).toBe((index * 7) & 0xffff);
  }
}

/** The next process would take what stands in these words of a pending frame for marks of its own, or for operations. */
function expectUnmarked({ block, count }: batch.FrameBatch): void {
  for (let i = 0; i < count; i++) {
    const at = batch.frameAt(i);
    if (block[at + FRAME_FIRST_OP] === CUT) continue;
    const words = [FRAME_FIRST_OP, FRAME_OP_COUNT, FRAME_STATUS].map((word) => block[at + word]);
    if (words.some((word) => word !== 0)) expect(words, `words of frame ${i}`).toEqual([0, 0, 0]);
  }
}

/** The hook's verdict, by a byte of the source address: mostly pass. */
function choose({ bytes }: { readonly bytes: Uint8Array }): 'pass' | 'drop' | Uint8Array {
  const { length } = bytes;
  const choice = length < 20 || length > 9014 ? 0 : bytes[CHOICE_AT];
  if (choice < 0xe0) return 'pass';
  if (choice < 0xf0) return 'drop';
  return choice < 0xf8 ? bytes.slice(0, Math.max(20, length - 4)) : Uint8Array.of(...bytes, 1, 2, 3, 4);
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}
