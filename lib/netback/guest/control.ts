import type { DurableWords } from '../../durable/durable-words.js';
import { RedoLog } from '../../durable/redo.js';
import { VifdError } from '../../errors.js';
import {
  CTRL_REQUEST_WORDS,
  CTRL_RESPONSE_WORDS,
  CTRL_RING,
  CTRL_RING_SIZE,
  respondControl,
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

/** The ring index before 0. */
const LAST_INDEX = 0xffffffff;

export interface ControlParts {
  readonly xen: Xen;
  readonly events: RingServiceParts['events'];
  readonly domid: number;
  readonly settings: ControlSettings;
  /** For a RedoLog of one response, since vifd responds to requests one by one: it makes each response safe against a kill. */
  readonly log: DurableWords;
  /** One word: 1 once `rsp_prod` has wrapped to 0. */
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
 * Serves a guest's control ring. It executes each request and responds before it reads the next. After a kill, the next process executes
 * requests without a response again, and no others.
 */
export class Control {
  readonly #ring: BackRing;
  readonly #budget: GuestBudget;
  readonly #requests: ControlRequests;
  readonly #service: RingService;
  readonly #request = new Uint32Array(CTRL_REQUEST_WORDS);
  readonly #response = new Uint32Array(CTRL_RESPONSE_WORDS);
  readonly #undo: UndoStack;
  readonly #responded: number;
  readonly #wrapped: DurableWords;

  /**
   * Attaches to the ring, whatever its indices.
   * @throws VifdError ERR_XEN_GRANT, ERR_XEN_EVENT, ERR_PROTOCOL; ERR_HOST: try again later. After a throw nothing is mapped or bound.
   */
  constructor(parts: ControlParts) {
    const { xen, domid, settings, budget, hostFaultsOf } = parts;
    this.#budget = budget;
    this.#wrapped = parts.wrapped;
    this.#undo = new UndoStack(hostFaultsOf('ending the control ring'));
    try {
      const log = new RedoLog(parts.log, CTRL_RESPONSE_WORDS);
      const ring = { name: 'control', ref: settings.ringRef, shape: CTRL_RING };
      this.#ring = mapRing({ xen, domid, ...ring, log }, this.#undo);
      this.#responded = this.#ring.responsesPublished;
      const page = this.#undo.use(new GuestPage(xen.grants, domid));
      this.#requests = new ControlRequests({ hash: parts.hash, stagingOf: parts.stagingOf, page });
      const pump = {
        name: 'control ring',
        port: settings.port,
        run: (notify: () => void) => this.#pump(notify),
      };
      this.#service = this.#undo.use(
        new RingService({ ...parts, clock: xen.clock, pumps: [pump], share: budget.loop }),
      );
    } catch (error) {
      throw this.#undo.after(error);
    }
  }

  /** The index up to which previous processes have responded. 0 means none, or a multiple of 2^32 requests (see `wrapped`). */
  get responded(): number {
    return this.#responded;
  }

  /** Whether a previous process has responded to 2^32 requests of this connection or more. */
  get wrapped(): boolean {
    return this.#wrapped.view[0] === 1;
  }

  /**
   * Clears the journal's words for a new connection: their content belongs to an earlier one with the same domid, ring references and
   * ports.
   */
  begin(): void {
    this.#wrapped.store(0, 0);
  }

  /** Starts to serve. Sends an event first, since the guest may wait for one that the previous process did not send. */
  start(): void {
    this.#service.start();
  }

  detach(): void {
    this.#undo[Symbol.dispose]();
  }

  /** Serves at most as many requests as the ring has slots, and only within the guest's slice. Rounds that find no request count too. */
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

  /**
   * Serves a request. netif.h has no status for "later": if the host has no memory for it, the request stays in the ring and is tried
   * again.
   */
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

  /** @returns whether the guest asked to be notified. @throws VifdError ERR_HOST: the request was not executed and stays in the ring. */
  #serve(): boolean {
    const status = this.#requests.execute(this.#request, this.#ring.responsesPublished);
    this.#ring.take(1);
    respondControl(this.#request, status, this.#requests.data, this.#response);
    if (this.#ring.responsesPublished === LAST_INDEX) this.#noteWrap();
    const heard = this.#ring.publish(this.#response, 1);
    this.#requests.settle();
    return heard;
  }

  /** Call it before the response that makes `rsp_prod` 0, so that the next process does not take the ring for a new one. */
  #noteWrap(): void {
    this.#wrapped.commit(0, 1);
  }
}
