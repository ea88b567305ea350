// node [--allow-natives-syntax] child.mjs DIRECTORY [any | few [FAULT]]: publishes responses in two rings with a journal, round after round, until it is
// killed or its parent ends. All of that memory is files in DIRECTORY, as a backend's journal is. The contents of each round are those of
// rounds.mjs. It prints two lines of JSON: before its first round, and when its code is warm. With FAULT, a store is in the wrong place, which the reader of the files must find.
import { writeSync } from 'node:fs';
import { DurableWords } from '../../../dist/durable/durable-words.js';
import { JOURNAL_VERSION, LAYOUTS } from '../../../dist/durable/layout.js';
import { RedoLog } from '../../../dist/durable/redo.js';
import { journalFiles } from '../../../dist/host/journal-files.js';
import { BackRing } from '../../../dist/netback/ring/back-ring.js';
import { readQueueJournal } from '../../../dist/netback/state/queue-journal.js';
import { RING_PAGE_BYTES, RING_RSP_PROD } from '../../../dist/protocol/netif.js';
import { RX_RING, TX_RING } from '../../../dist/protocol/ring.js';
import { afterOf, baseOf, COUNTS, countOf, firstOf, isPrepared, responseOf } from './rounds.mjs';

const WARM_UP_ROUNDS = 20_000;
/** With --allow-natives-syntax, the warm-up lasts until V8 has optimized the loop, but at most so many rounds. */
const WARM_UP_ROUNDS_MAX = 4_000_000;
const ROUNDS_AT_ONCE = 500;

const [directory, batches = 'any', fault] = process.argv.slice(2);
const counts = COUNTS[batches];
const parent = process.ppid;
const journals = journalFiles(directory);
const { bytes, words: layout } = LAYOUTS[JOURNAL_VERSION].queue;
const journal = journals.open('queue', bytes).bytes;
const rings = journals.open('rings', 3 * RING_PAGE_BYTES).bytes;
const marker = new Uint32Array(rings.buffer, 2 * RING_PAGE_BYTES, 1);

const ids = { domid: 7, handle: 0, queue: 0, txRingRef: 8, rxRingRef: 9, txPort: 3, rxPort: 4 };
const { fromGuest, toGuest } = readQueueJournal(journal, ids);

class FaultyLog extends RedoLog {
  constructor(at, end, side) {
    super(new DurableWords(new Uint32Array(journal.buffer, at * 4, end - at)), side === 0 ? 1 : 2);
    this.side = side;
    this.round = 0;
  }

  commit(base, responses, count, first) {
    if (fault !== 'state before responses' || responses === this.responses)
      super.commit(base, responses, count, first);
    else {
      super.commit(base, this.responses, count, first);
      for (let i = 0; i < count * (this.side + 1); i++) this.responses[i] = responses[i];
    }
    if (fault === 'settled before the ring') super.settle();
  }

  settle() {
    super.settle();
    if (fault === 'next responses too early') this.responses[0] = responseOf(++this.round, this.side, 0);
  }
}

class FaultyRing extends BackRing {
  constructor(page, shape, log) {
    super(page, shape, log);
    this.words = new Int32Array(page.buffer, page.byteOffset, page.byteLength / 4);
  }

  publish(responses, count, first) {
    if (fault === 'rsp_prod before responses')
      Atomics.store(this.words, RING_RSP_PROD, (this.responsesPublished + count) | 0);
    return super.publish(responses, count, first);
  }
}

function sideOf(number) {
  const shape = number === 0 ? TX_RING : RX_RING;
  const page = rings.subarray(number * RING_PAGE_BYTES, (number + 1) * RING_PAGE_BYTES);
  const { fromGuestLog, fromGuestFrames, toGuestLog, toGuestFrames } = layout.at;
  const real = number === 0 ? fromGuest.log : toGuest.log;
  const [at, end] = number === 0 ? [fromGuestLog, fromGuestFrames] : [toGuestLog, toGuestFrames];
  const log = fault === undefined ? real : new FaultyLog(at, end, number);
  const ring = fault === undefined ? new BackRing(page, shape, log) : new FaultyRing(page, shape, log);
  if (!ring.attach()) throw new Error('the ring is broken');
  return { number, ring, log, elsewhere: new Uint32Array(log.responses.length), words: shape.responseWords };
}

const sides = [sideOf(0), sideOf(1)];

function publishRound({ number, ring, log, elsewhere, words }, round) {
  const count = countOf(counts, round, number);
  const responses = isPrepared(round) ? log.responses : elsewhere;
  for (let i = 0; i < count * words; i++) responses[i] = responseOf(round, number, i);
  ring.publish(responses, count, firstOf(round));
  const after = afterOf(round);
  if (after === 'pending') ring.setPending(firstOf(round + 1) & 127);
  else if (after === 'clear') ring.clearPending();
}

function rounds(first, count) {
  for (let round = first; round < first + count; round++) {
    marker[0] = round;
    publishRound(sides[0], round);
    publishRound(sides[1], round);
  }
}

/** @returns whether `rounds` runs as code of the optimizing compiler; undefined without --allow-natives-syntax. */
function isOptimized() {
  if (!process.execArgv.includes('--allow-natives-syntax')) return undefined;
  const statusOf = new Function('f', 'return %GetOptimizationStatus(f)');
  const same = (value) => value;
  new Function('f', '%PrepareFunctionForOptimization(f); f(1); %OptimizeFunctionOnNextCall(f); f(1)')(same);
  const other = (value) => value;
  other(1);
  const bits = statusOf(same) & ~statusOf(other);
  return bits !== 0 && (statusOf(rounds) & bits) === bits;
}

let next = 0;
function warmUp() {
  for (const end = next + WARM_UP_ROUNDS; next < end; next += ROUNDS_AT_ONCE) rounds(next, ROUNDS_AT_ONCE);
}
writeSync(1, '"begins"\n');
do warmUp();
while (isOptimized() === false && next < WARM_UP_ROUNDS_MAX);
// What `rounds` calls and does not contain becomes hot at the latest now.
if (isOptimized() !== undefined) for (let i = 0; i < 5; i++) warmUp();
const bases = sides.map(({ ring }) => ring.responsesPublished);
if (bases.some((base, side) => base !== baseOf(counts, next, side)))
  throw new Error('the rounds do not add up');
writeSync(1, `${JSON.stringify({ node: process.version, optimized: isOptimized(), rounds: next })}\n`);
for (; process.ppid === parent; next += ROUNDS_AT_ONCE) rounds(next, ROUNDS_AT_ONCE);
