import { Backoff } from '../../backoff.js';
import type { Journals } from '../../durable/journal.js';
import type { JournalVersion } from '../../durable/layout.js';
import { type VifdError, vifdErrorOf } from '../../errors.js';
import type { Clock } from '../../xen/seam.js';
import type { FrontendSettings } from '../settings.js';
import { type ConnectionJournals, VifJournals } from '../state/connection-journals.js';
import type { VifAddress } from '../vif-info.js';
import type { VifFaults } from './vif-faults.js';

/** The time between two checks of the journals, so that a fault is reported within a second. */
const LOOK_MS = 500;

export interface JournalUpkeepParts {
  readonly vif: VifAddress;
  readonly journals: Journals | undefined;
  /** The version in which journals are written. */
  readonly version: JournalVersion;
  /** Runs after each store to a journal; a simulation kills the process there. */
  readonly afterStore: (() => void) | undefined;
  readonly clock: Clock;
  readonly faults: VifFaults;
  /** Called with an error that is over already. */
  readonly onError: (error: VifdError) => void;
  /** Called when there are new journals for the connection, with which vifd must attach anew. */
  readonly onRenewed: () => void;
}

/** The attached connection: its journals, and whether it needs none now. */
interface Attached {
  readonly quiet: boolean;
}

/**
 * Opens the journals of a vif's connection and checks them while it is attached. A journal may be lost while it is in use (deleted,
 * truncated), or may have failed to open, for lack of space. vifd then creates it again, and attaches to the guest anew with it, as the next
 * process would.
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

  /** Checks the journals from time to time until `stop`. */
  start(attached: Attached): void {
    this.#attached = attached;
    if (this.#parts.journals !== undefined) this.#look.again();
  }

  /** Closes the journals of a detached connection. Their content stays. */
  stop(): void {
    this.#look.cancel();
    this.#open = undefined;
    this.#attached = undefined;
  }

  /** Removes the journals of a connection that is over. */
  remove(): void {
    this.#journals.remove();
  }

  #lookAt(): void {
    const { faults, onRenewed } = this.#parts;
    const [attached, journals] = [this.#attached, this.#open];
    if (attached === undefined || journals === undefined) return;
    this.#look.again();
    const why = journals.lost();
    // The loss is reported once; from then on the fault's message is why the journal cannot be created.
    if (why !== undefined && !faults.has('journal'))
      faults.begin('journal', faults.about('ERR_JOURNAL', `${why}: it is made anew`));
    // Without a journal, an attach loses nothing only if no frame is pending and no grant is staged.
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
