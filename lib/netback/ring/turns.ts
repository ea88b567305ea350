import { Backoff } from '../../backoff.js';
import { VifdError, vifdErrorOf } from '../../errors.js';
import type { Clock } from '../../xen/seam.js';
import type { HostFaultListener } from '../faults/host-faults.js';
import type { LoopShare } from './loop-shares.js';

/**
 * How a turn of a pump ended. idle: no work waits, and an event will announce more. more: work remains for the next turn. waitMs: the
 * remaining work must wait for this time (for the guest's rate, budget or buffers). stop: the guest broke the protocol; the reason is for
 * people. fault: the host failed a call; the guest got no response, nothing is lost, and the pump tries the same work again.
 */
export type PumpResult =
  | 'idle'
  | 'more'
  | { readonly waitMs: number }
  | { readonly stop: string }
  | { readonly fault: VifdError };

/** The first pause after a fault of the host: short, so that a brief fault costs the guest little time. */
const FAULT_MS = 1;

export interface TurnsParts {
  readonly pump: () => PumpResult;
  readonly clock: Clock;
  /** The share of the pump's guest, which bounds its turns. */
  readonly share: LoopShare;
  readonly onIdle: () => void;
  /** Called when the guest broke the protocol. */
  readonly onStop: (reason: string) => void;
  /** Called when a fault of the host prevents the pump from working, and with undefined when it works again. */
  readonly onHostFault: HostFaultListener;
  /** Called when the pump cannot continue, because its memory is gone or because of a bug. */
  readonly onFailure: (error: VifdError) => void;
}

/** The turns of one pump. While work remains it gets further turns, within its guest's share of the event loop. */
export class Turns {
  readonly #parts: TurnsParts;
  readonly #clock: Clock;
  readonly #share: LoopShare;
  readonly #retry: Backoff;
  readonly #run = (): void => this.#share.run(this.#work);
  readonly #work = (): void => this.#runTurn();
  readonly #due = (): void => this.rouse();
  /** Whether the next turn waits in the guest's share. */
  #queued = false;
  /** Set while the pump waits for the guest's rate, budget or buffers. */
  #throttle: Disposable | undefined;
  #running = false;
  #again = false;
  /** Whether the last turn had a fault of the host: then `#retry` runs the next turn, and events do not. */
  #faulty = false;
  #ended = false;

  constructor(parts: TurnsParts) {
    this.#parts = parts;
    this.#clock = parts.clock;
    this.#share = parts.share;
    this.#retry = new Backoff(parts.clock, this.#run, FAULT_MS);
  }

  /** Whether no work can be done now. */
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

  /** Ends a wait early and gives the pump a turn, because what the pump waits for may be there. */
  rouse(): void {
    this.#unthrottle();
    this.wake();
  }

  /** As `rouse`, but only after the present turn of any pump: for pumps that rouse each other. */
  rouseNext(): void {
    this.#unthrottle();
    if (this.#ended || this.#queued || this.#faulty) return;
    if (this.#running) this.#again = true;
    else this.#queue();
  }

  /** Ends a wait for the rate, budget or buffers early, if there is one. */
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

  /** @returns undefined if the pump cannot continue. */
  #turn(): PumpResult | undefined {
    try {
      return this.#parts.pump();
    } catch (error) {
      if (!isOfGoneMemory(error)) throw error;
      // A hook that this turn has called detached the guest, so the guest's pages are gone. The effect is that of a kill at that place.
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

/**
 * Whether an error comes from a view of unmapped memory. Such views are empty: Atomics throw a TypeError, `set` a RangeError, the addon
 * ERR_STATE.
 */
function isOfGoneMemory(error: unknown): boolean {
  return error instanceof TypeError || error instanceof RangeError || error instanceof VifdError;
}
