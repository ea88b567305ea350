import { Backoff } from '../../backoff.js';
import { VifdError, vifdErrorOf } from '../../errors.js';
import type { Clock } from '../../xen/seam.js';
import type { HostFaultListener } from '../faults/host-faults.js';
import type { LoopShare } from './loop-shares.js';

/**
 * What a turn of a pump came to. idle: nothing waits and an event will tell of more. more: work is left for
 * the next turn. waitMs: work is left that cannot be done before (for the guest's rate or budget, or for want of its buffers). stop: the
 * guest broke the protocol; the reason is for people. fault: a call of the host's own failed; the guest has not been responded
 * to, nothing is lost, and the same work is to be tried again.
 */
export type PumpResult =
  | 'idle'
  | 'more'
  | { readonly waitMs: number }
  | { readonly stop: string }
  | { readonly fault: VifdError };

/** The first pause after a fault of the host's: what fails for a moment must not cost a guest more than that. */
const FAULT_MS = 1;

export interface TurnsParts {
  readonly pump: () => PumpResult;
  readonly clock: Clock;
  /** Its guest's, which bounds its turns. */
  readonly share: LoopShare;
  readonly onIdle: () => void;
  /** The guest broke the protocol. */
  readonly onStop: (reason: string) => void;
  /** The host keeps the pump from working, for the time being; undefined: it works again. */
  readonly onHostFault: HostFaultListener;
  /** The pump cannot go on: what it works on is gone, or it has a mistake. */
  readonly onFailure: (error: VifdError) => void;
}

/** The turns of one pump: it has another while work is left, within its guest's share of the loop. */
export class Turns {
  readonly #parts: TurnsParts;
  readonly #clock: Clock;
  readonly #share: LoopShare;
  readonly #retry: Backoff;
  readonly #run = (): void => this.#share.run(this.#work);
  readonly #work = (): void => this.#runTurn();
  readonly #due = (): void => this.rouse();
  /** Its next turn waits in the guest's share. */
  #queued = false;
  /** Set while `pump` has asked to wait: for the rate, a buffer, or the guest's budget. */
  #throttle: Disposable | undefined;
  #running = false;
  #again = false;
  /** The host had a fault at the last turn: `#retry` runs the next, and no event does. */
  #faulty = false;
  #ended = false;

  constructor(parts: TurnsParts) {
    this.#parts = parts;
    this.#clock = parts.clock;
    this.#share = parts.share;
    this.#retry = new Backoff(parts.clock, this.#run, FAULT_MS);
  }

  /** Nothing can be done now. */
  get idle(): boolean {
    return !this.#queued && !this.#running;
  }

  /** Runs the first turn, whatever the guest has used: its frames may have waited since the previous process ended. */
  start(): void {
    if (!this.#ended && !this.#running) this.#run();
  }

  wake(): void {
    if (this.#ended || this.#queued || this.#throttle !== undefined || this.#faulty) return;
    // A port may have frames before `pump` returns.
    if (this.#running) this.#again = true;
    else if (this.#share.free) this.#run();
    else this.#queue();
  }

  /** What it waited for may have come, however long it meant to wait. */
  rouse(): void {
    this.#unthrottle();
    this.wake();
  }

  /** As `rouse`, but whoever has a turn now ends it first: for those who rouse each other. */
  rouseNext(): void {
    this.#unthrottle();
    if (this.#ended || this.#queued || this.#faulty) return;
    if (this.#running) this.#again = true;
    else this.#queue();
  }

  /** Looks at once whether it may go on. */
  hurry(): void {
    if (this.#throttle !== undefined) this.rouse();
  }

  end(): void {
    this.#ended = true;
    this.#retry.cancel();
    this.#unthrottle();
    this.#queued = false;
    this.#share.cancel(this.#run);
  }

  #queue(): void {
    this.#queued = true;
    this.#share.queue(this.#run);
  }

  #unthrottle(): void {
    this.#throttle?.[Symbol.dispose]();
    this.#throttle = undefined;
  }

  #runTurn(): void {
    this.#queued = false;
    this.#unthrottle();
    if (this.#ended) return;
    this.#running = true;
    this.#again = false;
    const result = this.#turn();
    this.#running = false;
    if (this.#ended || result === undefined) return;
    if (typeof result === 'object' && 'fault' in result) {
      this.#wait(result.fault);
      return;
    }
    if (this.#faulty) this.#mended();
    if (typeof result === 'object' && 'waitMs' in result) {
      this.#throttle = this.#clock.after(result.waitMs, this.#due);
      this.#parts.onIdle();
    } else if (typeof result === 'object') {
      this.end();
      this.#parts.onStop(result.stop);
    } else if (result === 'more' || this.#again) {
      this.#queue();
    } else {
      this.#parts.onIdle();
    }
  }

  /** @returns undefined when the pump cannot go on. */
  #turn(): PumpResult | undefined {
    try {
      return this.#parts.pump();
    } catch (error) {
      if (!isOfGoneMemory(error)) throw error;
      // A hook, further down the stack, has detached the guest: its pages are gone. It is as if the process was killed there.
      if (this.#ended) return undefined;
      this.end();
      this.#running = false;
      this.#parts.onFailure(vifdErrorOf(error));
      return undefined;
    }
  }

  #wait(fault: VifdError): void {
    this.#faulty = true;
    this.#retry.again();
    this.#parts.onHostFault(fault);
    this.#parts.onIdle();
  }

  #mended(): void {
    this.#faulty = false;
    this.#retry.reset();
    this.#parts.onHostFault(undefined);
  }
}

/** Views of memory that is gone are empty: Atomics throw a TypeError, `set` a RangeError, and the addon an ERR_STATE. */
function isOfGoneMemory(error: unknown): boolean {
  return error instanceof TypeError || error instanceof RangeError || error instanceof VifdError;
}
