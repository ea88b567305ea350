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

/** The time between two looks. Frames that the port drops between the last look and a kill are not counted. */
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
  /** Called with an error that is over already. */
  readonly onError: (error: VifdError) => void;
}

/**
 * Counts in the vif's journal of counters while the vif is served, whether or not a guest is connected. Without a journal, or while it
 * cannot be opened, the counters are in memory.
 */
export class CounterUpkeep {
  readonly #parts: CounterUpkeepParts;
  readonly #look: Backoff;
  #page: CounterPage | undefined;

  constructor(parts: CounterUpkeepParts) {
    this.#parts = parts;
    this.#look = new Backoff(parts.clock, () => this.#lookAt(), LOOK_MS, LOOK_MS);
  }

  /** Opens the journal, and checks it from time to time until `end`. */
  begin(): void {
    if (this.#parts.journals === undefined) return;
    // The first look reports a failure. The connection's journals may fail for the same reason, and their error matters more.
    this.#open();
    this.#look.again();
  }

  /** Continues to count in memory, because the vif ends in this process. The journal stays. */
  end(): void {
    this.#look.cancel();
    this.#parts.counters.leavePage();
    this.#page?.close();
    this.#page = undefined;
  }

  /** Removes the counters of a vif that is gone. */
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

  /** @returns why the journal cannot be opened, or undefined. */
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

  /** @returns why a lost journal could not be replaced, or undefined. */
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
