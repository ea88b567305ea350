import { getHeapStatistics } from 'node:v8';
import type { Gauge } from './loop.js';

/** What a loop allocates in V8's heap. */
export interface Garbage {
  readonly bytesPerBatch: number;
  /** Garbage collections that began in the loop, in so many batches. */
  readonly collections: number;
  readonly batches: number;
}

/** By so much a collection makes the heap smaller at least: a young generation has megabytes. V8 also frees a few bytes between two readings. */
const COLLECTED_BYTES_MIN = 256 << 10;
const CALIBRATIONS = 200;

/** V8 allocates by moving a pointer, so the difference of two readings is exact. */
function usedHeapBytes(): number {
  return getHeapStatistics().used_heap_size;
}

/**
 * Measures what a loop allocates; what the bench itself allocates is not counted.
 * @param run runs the loop for so many `batches`, and returns by how much the gauge grew meanwhile.
 * @param ms how long, all in all.
 */
export function measureGarbage(run: (gauge: Gauge) => number, batches: number, ms: number): Garbage {
  // Once, so that the call that reads the heap is compiled.
  readingBytes();
  const reading = readingBytes();
  const endMs = performance.now() + ms;
  let bytes = 0;
  let whole = 0;
  let collections = 0;
  let runs = 0;
  for (; runs === 0 || performance.now() < endMs; runs++) {
    const grown = run(usedHeapBytes);
    if (grown < -COLLECTED_BYTES_MIN) collections++;
    if (grown < 0) continue;
    bytes += Math.max(0, grown - reading);
    whole++;
  }
  const bytesPerBatch = whole === 0 ? Number.NaN : bytes / whole / batches;
  return { bytesPerBatch, collections, batches: runs * batches };
}

/** @returns what a reading itself allocates: the least of many differences, since V8 may allocate meanwhile. */
function readingBytes(): number {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < CALIBRATIONS; i++) {
    const before = usedHeapBytes();
    const grown = usedHeapBytes() - before;
    if (grown >= 0) least = Math.min(least, grown);
  }
  return least;
}
