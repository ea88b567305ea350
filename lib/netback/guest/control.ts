import type { DurableWords } from '../../durable/durable-words.js';
import { RedoLog } from '../../durable/redo.js';
import { VifdError } from '../../errors.js';
import {
  answerControl,
  CTRL_REQUEST_WORDS,
  CTRL_RESPONSE_WORDS,
  CTRL_RING,
  CTRL_RING_SIZE,
} from '../../protocol/control.js';
import { UndoStack } from '../../undo.js';
import type { Xen } from '../../xen/seam.js';
import { type BackRing, RING_BROKEN } from '../ring/back-ring.js';
import { mapRing } from '../ring/mapped-ring.js';
import { RingService, type RingServiceParts } from '../ring/ring-service.js';
import type { PumpResult } from '../ring/turns.js';
import type { ControlSettings } from '../settings.js';
import { ControlRequests } from './control-requests.js';
import type { GuestBudget } from './guest-budget.js';
import { GuestPage } from './guest-page.js';
import type { HashState } from './hash.js';
import type { Staging } from './staging.js';

/** The ring's index in front of 0. */
const LAST_INDEX = 0xffffffff;

export interface ControlParts {
  readonly xen: Xen;
  readonly domid: number;
  readonly settings: ControlSettings;
  /** For a RedoLog of one response, since requests are answered one by one: a kill while one is answered is mended there. */
  readonly log: DurableWords;
  /** One word: 1 once so many were answered that `rsp_prod` has come round to 0. */
  readonly wrapped: DurableWords;
  readonly hash: HashState;
  readonly budget: GuestBudget;
  /** Undefined for a queue that the guest does not have. */
  readonly stagingOf: (queue: number) => Staging | undefined;
  readonly onStop: RingServiceParts['onStop'];
  readonly onFailure: RingServiceParts['onFailure'];
  readonly hostFaultsOf: RingServiceParts['hostFaultsOf'];
}

/**
 * Serves a guest's control ring. Each request is carried out and answered before the next is looked at: what a life that
 * is killed had not answered is carried out again by the next one, and what it had is not.
 */
export class Control {
  readonly #ring: BackRing;
  readonly #budget: GuestBudget;
  readonly #requests: ControlRequests;
  readonly #service: RingService;
  readonly #request = new Uint32Array(CTRL_REQUEST_WORDS);
  readonly #response = new Uint32Array(CTRL_RESPONSE_WORDS);
  readonly #undo: UndoStack;
  readonly #answered: number;
  readonly #wrapped: DurableWords;

  /**
   * Attaches to the ring, wherever it stands.
   * @throws VifdError ERR_XEN_GRANT, ERR_XEN_EVENT, ERR_PROTOCOL; ERR_HOST, to be tried again. Nothing is held then.
   */
  constructor(parts: ControlParts) {
    const { xen, domid, settings, budget, onStop, onFailure, hostFaultsOf } = parts;
    this.#budget = budget;
    this.#wrapped = parts.wrapped;
    this.#undo = new UndoStack(hostFaultsOf('ending the control ring'));
    try {
      const log = new RedoLog(parts.log, CTRL_RESPONSE_WORDS);
      const ring = { name: 'control', ref: settings.ringRef, shape: CTRL_RING };
      this.#ring = mapRing({ xen, domid, ...ring, log }, this.#undo);
      this.#answered = this.#ring.responsesPublished;
      const page = this.#undo.use(new GuestPage(xen.grants, domid));
      this.#requests = new ControlRequests({ hash: parts.hash, stagingOf: parts.stagingOf, page });
      const pump = {
        name: 'control ring',
        port: settings.port,
        run: (notify: () => void) => this.#pump(notify),
      };
      this.#service = this.#undo.use(
        new RingService({ xen, domid, pumps: [pump], share: budget.loop, onStop, onFailure, hostFaultsOf }),
      );
    } catch (error) {
      throw this.#undo.after(error);
    }
  }

  /** How far earlier lives have answered; 0 when there were none, and once in 2^32 requests (see `wrapped`). */
  get answered(): number {
    return this.#answered;
  }

  /** An earlier life of this connection has answered 2^32 requests or more. */
  get wrapped(): boolean {
    return this.#wrapped.view[0] === 1;
  }

  /** No earlier life has served this connection: what stands in the journal is of another one, with the same names. */
  begin(): void {
    this.#wrapped.store(0, 0);
  }

  /** Begins to answer. The guest may have waited for an earlier life's event. */
  start(): void {
    this.#service.start();
  }

  detach(): void {
    this.#undo[Symbol.dispose]();
  }

  /** Serves at most a ring of requests, and no longer than the guest's slice lasts; rounds that find none count too. */
  #pump(notify: () => void): PumpResult {
    let heard = false;
    let result: PumpResult = 'more';
    for (let round = 0; round < CTRL_RING_SIZE; round++) {
      if (round > 0 && this.#budget.loop.over) break;
      const waiting = this.#ring.waiting();
      if (waiting === RING_BROKEN) {
        result = { stop: 'control ring: req_prod is beyond the ring' };
        break;
      }
      if (waiting > 0) {
        const served = this.#tryServe();
        if (typeof served === 'object') {
          result = served;
          break;
        }
        heard = served || heard;
      } else if (!this.#ring.arm()) {
        result = 'idle';
        break;
      }
    }
    if (heard) notify();
    return result;
  }

  /** netif.h has no status for "later": a request that the host has no memory for waits in the ring, and is carried out again. */
  #tryServe(): boolean | { readonly fault: VifdError } | { readonly waitMs: number } {
    this.#ring.copy(1, this.#request);
    const grants = this.#requests.grantsOf(this.#request);
    const waitMs = grants === 0 ? 0 : this.#budget.staged.takeMs(grants);
    if (waitMs > 0) return { waitMs };
    try {
      return this.#serve();
    } catch (error) {
      if (error instanceof VifdError && error.code === 'ERR_HOST') return { fault: error };
      throw error;
    }
  }

  /** @returns whether the guest asked to be notified. @throws VifdError ERR_HOST; the request is still to be carried out. */
  #serve(): boolean {
    const status = this.#requests.execute(this.#request, this.#ring.responsesPublished);
    this.#ring.take(1);
    answerControl(this.#request, status, this.#requests.data, this.#response);
    if (this.#ring.responsesPublished === LAST_INDEX) this.#noteWrap();
    const heard = this.#ring.publish(this.#response, 1);
    this.#requests.settle();
    return heard;
  }

  /** Before the answer: the next life must not take a ring at 0 for one that has just begun. */
  #noteWrap(): void {
    this.#wrapped.commit(0, 1);
  }
}
