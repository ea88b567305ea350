import { Backoff } from '../../backoff.js';
import type { Journals } from '../../durable/journal.js';
import type { JournalVersion } from '../../durable/layout.js';
import { type VifdError, vifdErrorOf } from '../../errors.js';
import type { Clock } from '../../xen/seam.js';
import type { FrontendSettings } from '../settings.js';
import { type ConnectionJournals, VifJournals } from '../state/connection-journals.js';
import type { VifAddress } from '../vif-info.js';
import type { VifFaults } from './vif-faults.js';

/** So often: what goes wrong with a journal is reported within a second. */
const LOOK_MS = 500;

export interface JournalUpkeepParts {
  readonly vif: VifAddress;
  readonly journals: Journals | undefined;
  /** In which they are written. */
  readonly version: JournalVersion;
  /** Runs after each store to a journal: where a simulation kills. */
  readonly afterStore: (() => void) | undefined;
  readonly clock: Clock;
  readonly faults: VifFaults;
  /** An error that is over already. */
  readonly onError: (error: VifdError) => void;
  /** New journals are there for the connection: it is to be attached anew with them. */
  readonly onRenewed: () => void;
}

/** What is looked after: its journals, and whether it could do without them now. */
interface Attached {
  readonly quiet: boolean;
}

/**
 * Opens the journals of a vif's connection and looks after them while it is attached. Journals may be lost while they are in use (deleted,
 * truncated), or could not be had, for want of room: vifd makes them again, and attaches to the guest anew with them, as the next process
 * would.
 */
export class JournalUpkeep {
  readonly #parts: JournalUpkeepParts;
  readonly #journals: VifJournals;
  readonly #look: Backoff;
  #open: ConnectionJournals | undefined;
  #attached: Attached | undefined;

  constructor(parts: JournalUpkeepParts) {
    const { vif, journals, version, afterStore, clock, faults, onError } = parts;
    this.#parts = parts;
    this.#look = new Backoff(clock, () => this.#lookAt(), LOOK_MS, LOOK_MS);
    this.#journals = new VifJournals({
      journals,
      vif,
      version,
      afterStore,
      onError: (error) => faults.begin('journal', faults.prefixed(vifdErrorOf(error))),
      onIgnored: ({ code, message }) => onError(faults.about(code, message)),
    });
  }

  /** @returns the journals for a connection that vifd attaches to. */
  open(settings: FrontendSettings): ConnectionJournals {
    const journals = this.#journals.open(settings);
    if (journals.whole) this.#parts.faults.end('journal');
    this.#open = journals;
    return journals;
  }

  /** Looks after the journals until `stop`. */
  start(attached: Attached): void {
    this.#attached = attached;
    if (this.#parts.journals !== undefined) this.#look.again();
  }

  /** The connection is detached; its journals stay. */
  stop(): void {
    this.#look.cancel();
    this.#open = undefined;
    this.#attached = undefined;
  }

  /** The guest's connection is over, and so are its journals. */
  remove(): void {
    this.#journals.remove();
  }

  #lookAt(): void {
    const { faults, onRenewed } = this.#parts;
    const [attached, journals] = [this.#attached, this.#open];
    if (attached === undefined || journals === undefined) return;
    this.#look.again();
    const why = journals.lost();
    // Reported once: from then on the fault is what hinders it.
    if (why !== undefined && !faults.has('journal'))
      faults.begin('journal', faults.about('ERR_JOURNAL', `${why}: it is made anew`));
    // Without a journal an attach loses nothing only where no frame is pending and no grant staged.
    if (!faults.has('journal') || (why === undefined && !attached.quiet)) return;
    try {
      journals.renew();
    } catch (error) {
      faults.begin('journal', faults.prefixed(vifdErrorOf(error)));
      return;
    }
    onRenewed();
  }
}
