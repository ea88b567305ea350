import type { VifdError } from '../../errors.js';
import type { FrameBatch } from '../../ports/frame-batch.js';
import * as batch from '../../ports/frame-batch.js';
import type { Clock } from '../../xen/seam.js';
import type { FlowCounters } from './counters.js';
import type { Direction, FrameFilter } from './frame.js';
import { HeaderView } from './header-view.js';
import { CheckedHook, filterFault } from './verdicts.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { FRAMES_HEADER_WORDS, FRAME_LENGTH, FRAME_OFFSET, FRAME_WORDS } = batch;

/** The filters of one vif: each sees all frames of a batch that the filters before it passed. */
export class Filters {
  #chain: readonly CheckedHook<FrameFilter>[] = [];
  /** The view of the last batch of each direction: with one queue, that of all. */
  #fromGuest: HeaderView | undefined;
  #toGuest: HeaderView | undefined;
  /** By the bytes of the arena, because each queue has an arena for each direction. */
  readonly #views = new WeakMap<Uint8Array, HeaderView>();
  readonly #clock: Clock;
  readonly #onError: (error: VifdError) => void;

  constructor(clock: Clock, onError: (error: VifdError) => void) {
    this.#clock = clock;
    this.#onError = onError;
  }

  get active(): boolean {
    return this.#chain.length > 0;
  }

  /** @param name of the program's own function. */
  add(filter: FrameFilter, name: string): Disposable {
    const [clock, onError] = [this.#clock, this.#onError];
    const added = new CheckedHook({ hook: filter, kind: 'Filter', name, clock, onError });
    // A new list, because a filter may remove itself while `run` iterates over the list.
    this.#chain = [...this.#chain, added];
    return {
      [Symbol.dispose]: () => {
        added.isActive = false;
        this.#chain = this.#chain.filter((one) => one !== added);
      },
    };
  }

  /** Shows every frame to the filters; a dropped frame gets length 0. @returns whether all frames passed. */
  run(frames: FrameBatch, direction: Direction, counters: FlowCounters): boolean {
    const view = this.#viewOf(frames, direction);
    let passed = true;
    for (const checked of this.#chain) {
      if (!runFilter(checked, view, frames, direction, counters)) passed = false;
    }
    view.end();
    return passed;
  }

  #viewOf({ arena }: FrameBatch, direction: Direction): HeaderView {
    const isFromGuest = direction === 'from-guest';
    const last = isFromGuest ? this.#fromGuest : this.#toGuest;
    if (last?.isOf(arena) === true) return last;
    let view = this.#views.get(arena.bytes);
    if (view === undefined) {
      view = new HeaderView(arena);
      this.#views.set(arena.bytes, view);
    }
    if (isFromGuest) this.#fromGuest = view;
    else this.#toGuest = view;
    return view;
  }
}

/** Shows every frame to one filter. It is hot: V8 compiles the filter and its reads into this loop. @returns whether all frames passed. */
function runFilter(
  checked: CheckedHook<FrameFilter>,
  view: HeaderView,
  frames: FrameBatch,
  direction: Direction,
  counters: FlowCounters,
): boolean {
  const { hook: filter } = checked;
  const { block, count } = frames;
  let passed = true;
  let thrownAt = -1;
  let at = FRAMES_HEADER_WORDS;
  for (let i = 0; i < count; i++, at += FRAME_WORDS) {
    // As an int32, V8 needs no checks for larger numbers. It is 0 if the frame was dropped, or if the block was unmapped with the journal.
    const length = block[at + FRAME_LENGTH] | 0;
    if (length === 0) continue;
    // The filter has removed itself.
    if (!checked.isActive) break;
    view.aim(block[at + FRAME_OFFSET] | 0, length);
    let verdict: unknown;
    try {
      verdict = filter(view, direction);
    } catch (error) {
      checked.threw(error);
      thrownAt = i;
      // The filter detached the guest before it read on. The caller counts these frames.
      if (frames.arena.bytes.length === 0) return false;
      counters.hookErrors++;
      block[at + FRAME_LENGTH] = 0;
      passed = false;
      continue;
    }
    if (verdict === 'pass') continue;
    if (verdict === 'drop') counters.filtered++;
    else {
      checked.refuse(verdict, filterFault(verdict));
      counters.hookErrors++;
    }
    block[at + FRAME_LENGTH] = 0;
    passed = false;
  }
  // Once a batch, since a store for each frame costs 2 % of its time.
  if (thrownAt !== count - 1) checked.worked();
  return passed;
}
