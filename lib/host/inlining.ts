/**
 * How much bytecode V8 inlines into one function. A turn of the data path from the guest has 3,200 bytes, and V8's own limit is 920: it then compiles the
 * turn as several functions, each of which repeats checks of its caller, and which calls remain differs from process to process. With a
 * larger limit, a batch of one frame takes 9 to 19 % less time (docs/performance.md).
 */
const FLAG = '--max-inlined-bytecode-size-cumulative';
const LARGER_BYTES = 4000;
/** V8's own limit in Node 20 to 26. */
const DEFAULT_BYTES = 920;

/**
 * Raises the limit for code that V8 compiles from now on, in the whole process: this is for programs, and not for a library. Takes 1 to 5 ms, in
 * which Node loads its module `v8`.
 */
export function inlineMore(): void {
  limit(LARGER_BYTES);
}

/**
 * Runs `work` with V8's own limit, in a process that has raised it. V8 rejects a code cache that was made with other flags than the next
 * process has at its start.
 */
export function withDefaultInlining<T>(work: () => T): T {
  limit(DEFAULT_BYTES);
  try {
    return work();
  } finally {
    limit(LARGER_BYTES);
  }
}

function limit(bytes: number): void {
  process.getBuiltinModule('node:v8').setFlagsFromString(`${FLAG}=${bytes}`);
}
