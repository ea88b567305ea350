/**
 * Options of V8 that a program of vifd changes while it runs; a library must not. V8 rejects a code cache that was made with other options than
 * the next process has at its start, so that they cannot stand in the command line: see `withDefaultFlags`.
 */
interface Flag {
  readonly name: string;
  /** V8's own value in Node 20 to 26. */
  readonly usual: number;
  readonly ours: number;
}

/**
 * How much bytecode V8 inlines into one function. A turn of the data path from the guest has 3,200 bytes, and V8's own limit is 920: it then compiles the
 * turn as several functions, each of which repeats checks of its caller, and which calls remain differs from process to process. With a
 * larger limit, a batch of one frame takes 9 to 19 % less time (docs/performance.md).
 */
const INLINED_BYTES: Flag = { name: 'max-inlined-bytecode-size-cumulative', usual: 920, ours: 4000 };

/**
 * By how much V8 enlarges the space of new objects when many of them stay. It grows to 14 MB while a worker attaches to 64 guests, and remains
 * so, since a worker that only moves frames makes few objects. With 1 it stays at 1 MB, and V8 collects it more often meanwhile.
 */
const NEW_SPACE_GROWTH: Flag = { name: 'semi-space-growth-factor', usual: 2, ours: 1 };

const changed = new Set<Flag>();

/** Has V8 inline more in code that it compiles from now on. Takes 1 to 5 ms, in which Node loads its module `v8`. */
export function inlineMore(): void {
  change(INLINED_BYTES);
}

/** Has V8 leave the space of new objects as small as it is. */
export function stopNewSpaceGrowth(): void {
  change(NEW_SPACE_GROWTH);
}

/** Runs `work` with V8's own options, in a process that has changed some: for making a code cache. */
export function withDefaultFlags<T>(work: () => T): T {
  for (const { name, usual } of changed) set(name, usual);
  try {
    return work();
  } finally {
    for (const { name, ours } of changed) set(name, ours);
  }
}

function change(flag: Flag): void {
  changed.add(flag);
  set(flag.name, flag.ours);
}

function set(name: string, value: number): void {
  process.getBuiltinModule('node:v8').setFlagsFromString(`--${name}=${value}`);
}
