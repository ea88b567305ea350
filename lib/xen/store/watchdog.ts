import type { Clock } from '../seam.js';

/** What a watchdog sees of a connection. Requests are numbered in the order of sending, from 1. */
export interface Guarded {
  /** The number of the last request. */
  readonly sent: number;
  /** The number of the oldest request without a response. */
  readonly oldest: number | undefined;
  /** The highest number of a request that has its response. */
  readonly answered: number;
  /** How often data arrived. */
  readonly heard: number;
  /** Asks for anything at all. */
  probe(): void;
  lose(cause: unknown): void;
}

export interface WatchdogOptions {
  readonly clock: Clock;
  /** After this much silence the connection is lost. */
  readonly lostMs: number;
  /** Called once for each silence. Its end is for the connection to see. */
  readonly onSilent: () => void;
}

/** What is silent for two turns is reported, within four turns of when xenstored ended to respond. */
const TURN_MS = 250;
const SILENT_TURNS = 2;
export const SILENT_MS = TURN_MS * SILENT_TURNS;
/** In a silence a request is sent this often: in a driver domain those before may be lost. */
const PROBE_TURNS = 4;

/**
 * Notices a xenstored that hangs: a socket stays open then, and /dev/xen/xenbus never ends. Turns are counted and not
 * milliseconds: where this process was stopped, what came meanwhile is read before the next turn.
 *
 * A silent connection is kept: a live update of xenstored, or a stopped dom0, takes seconds, after which it responds to
 * everything, in order, and watches stand. It is lost when others were answered and the oldest was not (a xenstored that
 * started again behind the kernel's ring does not know what its predecessor had read), or after `lostMs`.
 */
export class Watchdog implements Disposable {
  readonly #guarded: Guarded;
  readonly #options: WatchdogOptions;
  #timer: Disposable;
  #sentBefore = 0;
  #heardBefore = 0;
  #silentTurns = 0;
  #overtaken = { oldest: 0, turns: 0 };

  constructor(guarded: Guarded, options: WatchdogOptions) {
    this.#guarded = guarded;
    this.#options = options;
    this.#timer = options.clock.after(TURN_MS, () => this.#turn());
  }

  [Symbol.dispose](): void {
    this.#timer[Symbol.dispose]();
  }

  #turn(): void {
    this.#timer = this.#options.clock.after(TURN_MS, () => this.#turn());
    const { oldest, heard } = this.#guarded;
    const waits = oldest !== undefined && oldest <= this.#sentBefore;
    this.#silentTurns = waits && heard === this.#heardBefore ? this.#silentTurns + 1 : 0;
    if (oldest === undefined || this.#silentTurns % PROBE_TURNS === PROBE_TURNS - 1) this.#guarded.probe();
    this.#sentBefore = this.#guarded.sent;
    this.#heardBefore = heard;
    const silentMs = this.#silentTurns * TURN_MS;
    if (this.#isOvertaken()) this.#guarded.lose(new Error('xenstored responds and has lost a request'));
    else if (silentMs >= this.#options.lostMs)
      this.#guarded.lose(new Error(`xenstored did not respond for ${silentMs / 1000} s`));
    else if (this.#silentTurns === SILENT_TURNS) this.#options.onSilent();
  }

  /** Whether later requests have their responses, for two turns, and the oldest has not. */
  #isOvertaken(): boolean {
    const { oldest, answered } = this.#guarded;
    if (oldest === undefined || answered < oldest) this.#overtaken = { oldest: 0, turns: 0 };
    else if (oldest !== this.#overtaken.oldest) this.#overtaken = { oldest, turns: 1 };
    else this.#overtaken.turns += 1;
    return this.#overtaken.turns > SILENT_TURNS;
  }
}
