import { Backoff } from '../../backoff.js';
import { countersNameOf, type Journals } from '../../durable/journal.js';
import type { Ignored } from '../../durable/journal-head.js';
import { JOURNAL_VERSION } from '../../durable/layout.js';
import { VifdError, vifdErrorOf } from '../../errors.js';
import type { Clock } from '../../xen/seam.js';
import type { VifCounters } from '../frames/counters.js';
import { type CounterPage, openCounterPage, renewCounterPage } from '../state/counter-page.js';
import type { VifAddress } from '../vif-info.js';
import type { VifFaults } from './vif-faults.js';

/** What the port drops between the last look and a kill is not counted. */
const LOOK_MS = 1000;

const IGNORED: Record<Exclude<Ignored, 'unknown-version'>, string> = {
  foreign: 'its journal of counters is of another vif',
  damaged: 'its journal of counters is damaged',
};

export interface CounterUpkeepParts {
  readonly vif: VifAddress;
  readonly counters: VifCounters;
  readonly journals: Journals | undefined;
  readonly clock: Clock;
  readonly faults: VifFaults;
  /** An error that is over already. */
  readonly onError: (error: VifdError) => void;
}

/**
 * Keeps a vif's counters in their journal while the vif is served, whether or not a guest is connected. Without a journal, or while it
 * cannot be had, they are counted in memory.
 */
export class CounterUpkeep {
  readonly #parts: CounterUpkeepParts;
  readonly #look: Backoff;
  #page: CounterPage | undefined;

  constructor(parts: CounterUpkeepParts) {
    this.#parts = parts;
    this.#look = new Backoff(parts.clock, () => this.#lookAt(), LOOK_MS, LOOK_MS);
  }

  /** Opens the journal, and looks after it until `end`. */
  begin(): void {
    if (this.#parts.journals === undefined) return;
    // A failure is reported by the first look: the same may hinder the connection's journals, which matter more.
    this.#open();
    this.#look.again();
  }

  /** Counts on in memory: the vif ends in this process. The journal stays. */
  end(): void {
    this.#look.cancel();
    this.#parts.counters.leavePage();
    this.#page?.close();
    this.#page = undefined;
  }

  /** The vif is gone, and so are its counters. */
  remove(): void {
    const { vif, journals, faults, onError } = this.#parts;
    this.end();
    try {
      journals?.remove(countersNameOf(vif.id));
    } catch (error) {
      onError(faults.prefixed(vifdErrorOf(error)));
    }
  }

  #lookAt(): void {
    this.#look.again();
    this.#parts.counters.look();
    const error = this.#page === undefined ? this.#open() : this.#renewIfLost(this.#page);
    if (error !== undefined) this.#report(error);
    else this.#parts.faults.end('counters');
  }

  /** @returns why there is none to be had. */
  #open(): VifdError | undefined {
    const { vif, counters, journals } = this.#parts;
    if (journals === undefined) return undefined;
    try {
      const page = openCounterPage(journals, vif);
      counters.addTo(page.counts);
      this.#use(page);
      return undefined;
    } catch (error) {
      return vifdErrorOf(error);
    }
  }

  /** @returns why it is lost, and none is to be had in its place. */
  #renewIfLost(page: CounterPage): VifdError | undefined {
    const { vif, journals, faults } = this.#parts;
    const why = page.lost();
    if (why === undefined || journals === undefined) return undefined;
    // Once: from then on the fault is what hinders that.
    if (!faults.has('counters')) this.#report(new VifdError('ERR_JOURNAL', `${why}: it is made anew`));
    try {
      this.#use(renewCounterPage(journals, vif, page.counts));
      page.close();
      return undefined;
    } catch (error) {
      return vifdErrorOf(error);
    }
  }

  #use(page: CounterPage): void {
    const { counters, faults, onError } = this.#parts;
    counters.use(page.counts);
    this.#page = page;
    const { ignored, unknownVersion } = page;
    if (ignored === undefined) return;
    if (ignored === 'unknown-version') {
      const what = `its journal of counters has version ${unknownVersion}, and this vifd reads ${JOURNAL_VERSION}`;
      onError(faults.about('ERR_JOURNAL_VERSION', `${what}: they begin at 0`));
    } else onError(faults.about('ERR_JOURNAL', `${IGNORED[ignored]}: they begin at 0`));
  }

  /** What hinders the connection's journals is reported for these, and not once more for the counters. */
  #report(error: VifdError): void {
    const { faults } = this.#parts;
    if (!faults.has('journal')) faults.begin('counters', faults.prefixed(error));
  }
}
