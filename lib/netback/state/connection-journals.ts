import { countersNameOf, isJournalOf, type Journals } from '../../durable/journal.js';
import type { Ignored } from '../../durable/journal-head.js';
import { JOURNAL_VERSIONS, type JournalKind, type JournalVersion, LAYOUTS } from '../../durable/layout.js';
import { convertJournal, type OpenedJournal, openJournal } from '../../durable/open-journal.js';
import { VifdError, type VifdErrorCode, vifdErrorOf } from '../../errors.js';
import type { FrontendSettings } from '../settings.js';
import type { VifAddress } from '../vif-info.js';
import { type QueueJournal, readQueueJournal } from './queue-journal.js';
import { connectionIn, readVifJournal, type VifJournal } from './vif-journal.js';

export interface ConnectionJournals {
  readonly vif: VifJournal;
  /** The journal of each queue; undefined if it could not be opened. */
  readonly queues: readonly (QueueJournal | undefined)[];
  /** Creates the journals that were lost or could not be opened. @throws VifdError ERR_JOURNAL. */
  renew(): void;
  /** Whether all journals of the connection could be opened. */
  readonly whole: boolean;
  /** Returns why an open journal would no longer outlive the process; undefined if all of them would. */
  lost(): string | undefined;
  /** Closes the journals of a connection that has ended. Idempotent. */
  close(): void;
}

/** The report about a journal that vifd ignores and starts anew. */
export interface IgnoredJournal {
  readonly code: VifdErrorCode;
  readonly message: string;
}

/** The journals of one vif: `vif7.0` for what the guest programmed; `vif7.0.q0`, `vif7.0.q1` and so on for its queues. */
export class VifJournals {
  readonly #journals: Journals | undefined;
  readonly #vif: VifAddress;
  readonly #version: JournalVersion;
  readonly #afterStore: (() => void) | undefined;
  readonly #onError: (error: unknown) => void;
  readonly #onIgnored: (what: IgnoredJournal) => void;
  /** Whether all journals of the vif were removed. */
  #gone = false;

  constructor(parts: {
    journals: Journals | undefined;
    vif: VifAddress;
    /** The version to write. Journals of other versions are read and converted. */
    version: JournalVersion;
    /** Runs after each store to a journal; a simulation kills the process there. */
    afterStore?: (() => void) | undefined;
    onError: (error: unknown) => void;
    onIgnored: (what: IgnoredJournal) => void;
  }) {
    this.#journals = parts.journals;
    this.#vif = parts.vif;
    this.#version = parts.version;
    this.#afterStore = parts.afterStore;
    this.#onError = parts.onError;
    this.#onIgnored = parts.onIgnored;
  }

  /**
   * Opens the journals of a connection that begins or is resumed. A journal that cannot be opened is reported once, and the guest served
   * without.
   */
  open(settings: FrontendSettings): ConnectionJournals {
    this.#gone = false;
    const failed: { error?: unknown } = {};
    const open = new Map<string, OpenedJournal>();
    const opened = (name: string, kind: JournalKind): OpenedJournal | undefined => {
      try {
        const journal = this.#open(name, kind);
        if (journal !== undefined) open.set(name, journal);
        if (isTooNew(journal, this.#version)) failed.error ??= this.#unconverted(journal);
        return journal;
      } catch (error) {
        failed.error ??= error;
        return undefined;
      }
    };
    this.#removeBut(settings.queues.length);
    const queueFiles = settings.queues.map((_rings, queue) => opened(this.#queueName(queue), 'queue'));
    const queues = queueFiles.map((file, queue) => file && this.#readQueue(file, settings, queue));
    const vifFile = opened(this.#vif.id, 'vif');
    // Memory that ends with the process has the layout of a journal, because it may become one (`renew`).
    const vifBytes = vifFile?.pages.bytes ?? new Uint8Array(LAYOUTS[this.#version].vif.bytes);
    const version = vifFile?.version ?? this.#version;
    const vif = readVifJournal(vifBytes, this.#vif, settings, version, this.#afterStore);
    if (failed.error !== undefined) this.#onError(failed.error);
    const unknownVersion = [vifFile, ...queueFiles].find(
      (file) => file?.unknownVersion !== undefined,
    )?.unknownVersion;
    for (const why of new Set([...queues, vif].map((journal) => journal?.ignored)))
      if (why !== undefined) this.#onIgnored(ignoredJournal(why, unknownVersion));
    return {
      vif,
      queues,
      whole: failed.error === undefined,
      lost: () => [...open.values()].map(({ pages }) => pages.lost()).find((why) => why !== undefined),
      close: () => {
        for (const { pages } of open.values()) pages.close();
        open.clear();
      },
      renew: () => this.#renew(settings, open, vifBytes),
    };
  }

  #open(name: string, kind: JournalKind): OpenedJournal | undefined {
    if (this.#journals === undefined) return undefined;
    return openJournal(this.#journals, { name, kind, version: this.#version, afterStore: this.#afterStore });
  }

  /** Returns the error to report when a conversion failed: an older vifd, if it is to be started next, would lose the journal's content. */
  #unconverted({ version, unconverted }: OpenedJournal): VifdError {
    const { message, errno } = vifdErrorOf(unconverted);
    const what =
      `its journal has version ${version} and could not be converted to ${this.#version}; do not start an older vifd before it is: ` +
      message;
    return new VifdError('ERR_JOURNAL', what, errno === undefined ? {} : { errno });
  }

  #readQueue({ pages, version }: OpenedJournal, { queues }: FrontendSettings, queue: number): QueueJournal {
    const { domid, handle } = this.#vif;
    const identity = { ...queues[queue], domid, handle, queue };
    return readQueueJournal(pages.bytes, identity, version, this.#afterStore);
  }

  /**
   * Creates the journals that were lost, could not be opened or could not be converted, with the content that the connection has in memory.
   * The connection continues to use its old memory; the next `open` finds the new journals.
   * @throws VifdError ERR_JOURNAL; journals that are not lost are unchanged.
   */
  #renew(settings: FrontendSettings, open: ReadonlyMap<string, OpenedJournal>, vif: Uint8Array): void {
    const journals = this.#journals;
    if (journals === undefined) return;
    const version = this.#version;
    const make = (name: string, kind: JournalKind, content: Uint8Array): void => {
      const old = open.get(name);
      // A copy, because write(2) from the mapping of a truncated file fails with EFAULT, whereas this process reads zeros.
      if (old === undefined || old.pages.lost() !== undefined) journals.replace(name, content.slice());
      else convertJournal(journals, old, { name, kind, version });
    };
    settings.queues.forEach((_rings, queue) => {
      const name = this.#queueName(queue);
      // A queue without a journal has no pending frames when this is called.
      const content = open.get(name)?.pages.bytes ?? new Uint8Array(LAYOUTS[version].queue.bytes);
      make(name, 'queue', content);
    });
    make(this.#vif.id, 'vif', vif);
  }

  /** Removes the journals of a connection that is over. */
  remove(): void {
    if (this.#gone) return;
    this.#gone = this.#removeBut(undefined);
  }

  /**
   * Removes the journals that a connection with so many queues does not have; undefined: all, except the counters, which belong to the vif.
   */
  #removeBut(queues: number | undefined): boolean {
    const keeps = new Set([countersNameOf(this.#vif.id)]);
    if (queues !== undefined) keeps.add(this.#vif.id);
    for (let queue = 0; queue < (queues ?? 0); queue++) keeps.add(this.#queueName(queue));
    try {
      for (const name of this.#journals?.names(this.#vif.id) ?? []) {
        if (isJournalOf(this.#vif.id, name) && !keeps.has(name)) this.#journals?.remove(name);
      }
      return true;
    } catch (error) {
      // The remaining journals name rings that no longer exist, and will be ignored.
      this.#onError(error);
      return false;
    }
  }

  #queueName(queue: number): string {
    return `${this.#vif.id}.q${queue}`;
  }
}

/**
 * Returns what a vif's journal records of its connection. Undefined if there is no such record, or if it cannot be read: then the attach, which
 * opens the journal again, reports why.
 */
export function recordedConnection(
  journals: Journals,
  vif: VifAddress,
  version: JournalVersion,
): FrontendSettings | undefined {
  try {
    const { pages, version: found } = openJournal(journals, { name: vif.id, kind: 'vif', version });
    const settings = connectionIn(pages.bytes, vif, found);
    pages.close();
    return settings;
  } catch (error) {
    if (error instanceof VifdError) return undefined;
    throw error;
  }
}

/**
 * Whether a journal could not be converted to an older version. This process uses it as it is; the older vifd that the operator wants to start
 * next could not read it. A journal that stays in an older version loses nothing.
 */
function isTooNew(journal: OpenedJournal | undefined, version: JournalVersion): journal is OpenedJournal {
  return journal?.unconverted !== undefined && journal.version > version;
}

function ignoredJournal(why: Ignored, version: number | undefined): IgnoredJournal {
  if (why === 'foreign') {
    const message =
      'its journal is of another connection: an empty one was begun, and a kill just before may have cost frames';
    return { code: 'ERR_JOURNAL', message };
  }
  if (why === 'damaged') {
    const message = 'its journal is damaged: an empty one was begun, and frames may be lost';
    return { code: 'ERR_JOURNAL', message };
  }
  const versions = JOURNAL_VERSIONS.join(' and ');
  const message =
    `its journal has version ${version}, and this vifd reads ${versions}: an empty one was begun, and frames and what the guest ` +
    `programmed may be lost. To change to an older vifd, first start the newer one with --journal-version ${Math.max(...JOURNAL_VERSIONS)}`;
  return { code: 'ERR_JOURNAL_VERSION', message };
}
