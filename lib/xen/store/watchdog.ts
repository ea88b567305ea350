import type { Clock } from '../seam.js';

/** The part of a connection that a watchdog uses. Requests are numbered in the order of sending, from 1. */
export interface Guarded {
  /** The number of the last request. */
  readonly sent: number;
  /** The number of the oldest request without a response. */
  readonly oldest: number | undefined;
  /** The number of the latest request that has its response. */
  readonly responded: number;
  /** How often data arrived. */
  readonly heard: number;
  /** Sends a request, whichever. */
  probe(): void;
  lose(cause: unknown): void;
}

export interface WatchdogOptions {
  readonly clock: Clock;
  /** After this much silence the connection is lost. */
  readonly lostMs: number;
  /** Called once for each silence. The connection itself notices the end of a silence. */
  readonly onSilent: () => void;
}

/** A silence of two turns is reported: at most four turns after xenstored stopped responding. */
const TURN_MS = 250;
const SILENT_TURNS = 2;
export const SILENT_MS = TURN_MS * SILENT_TURNS;
/** How often to send a probe during a silence: in a driver domain earlier ones may be lost. */
const PROBE_TURNS = 4;

/**
 * Notices a xenstored that hangs: its socket stays open, and /dev/xen/xenbus never ends. The watchdog counts turns of the event loop and not
 * milliseconds: if this process was stopped, it reads what arrived meanwhile before the next turn.
 *
 * The watchdog does not end a silent connection at once: a live update of xenstored, or a stopped dom0, takes seconds, after which xenstored
 * responds to all requests in order and its watches are intact. The connection counts as lost after `lostMs`, or if later requests got their
 * responses and the oldest one did not (a xenstored that restarted behind the kernel's ring does not know what its predecessor had read).
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

  /** Whether, for two turns, later requests have had their responses and the oldest has not. */
  #isOvertaken(): boolean {
    const { oldest, responded } = this.#guarded;
    if (oldest === undefined || responded < oldest) this.#overtaken = { oldest: 0, turns: 0 };
    else if (oldest !== this.#overtaken.oldest) this.#overtaken = { oldest, turns: 1 };
    else this.#overtaken.turns += 1;
    return this.#overtaken.turns > SILENT_TURNS;
  }
}
