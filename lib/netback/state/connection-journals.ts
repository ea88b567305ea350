import { countersNameOf, isJournalOf, type Journals } from '../../durable/journal.js';
import type { Ignored } from '../../durable/journal-head.js';
import { JOURNAL_VERSIONS, type JournalKind, type JournalVersion, LAYOUTS } from '../../durable/layout.js';
import { convertJournal, type OpenedJournal, openJournal } from '../../durable/open-journal.js';
import { VifdError, type VifdErrorCode, vifdErrorOf } from '../../errors.js';
import type { FrontendSettings } from '../settings.js';
import type { VifAddress } from '../vif-info.js';
import { type QueueJournal, readQueueJournal } from './queue-journal.js';
import { readVifJournal, type VifJournal } from './vif-journal.js';

export interface ConnectionJournals {
  readonly vif: VifJournal;
  /** Of each queue; undefined where there is none to be had. */
  readonly queues: readonly (QueueJournal | undefined)[];
  /** Makes those that are lost or that there never were. @throws VifdError ERR_JOURNAL. */
  renew(): void;
  /** Each that was asked for could be had. */
  readonly whole: boolean;
  /** Why they would not all outlive the process any more; undefined: they would, as far as there are any. */
  lost(): string | undefined;
  /** The connection has ended: nothing looks at them any more. Idempotent. */
  close(): void;
}

/** What vifd reports of a journal that it begins anew. */
export interface IgnoredJournal {
  readonly code: VifdErrorCode;
  readonly message: string;
}

/** The journals of one vif: `vif7.0` for what the guest programmed, `vif7.0.q0` and on for its queues. */
export class VifJournals {
  readonly #journals: Journals | undefined;
  readonly #vif: VifAddress;
  readonly #version: JournalVersion;
  readonly #afterStore: (() => void) | undefined;
  readonly #onError: (error: unknown) => void;
  readonly #onIgnored: (what: IgnoredJournal) => void;
  /** There is no journal of the vif. */
  #gone = false;

  constructor(parts: {
    journals: Journals | undefined;
    vif: VifAddress;
    /** In which they are written; those of the others are read, and converted. */
    version: JournalVersion;
    /** Runs after each store to a journal: where a simulation kills. */
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

  /** Opens the journals of a connection that begins or is resumed. One that cannot be had is reported once: its guest is served without. */
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
    // Memory that ends with the process is laid out as a journal is: it may become one (`renew`).
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

  /** An older vifd is to be started next, and would lose what such a journal has. */
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
   * Makes those that are lost, that there never were, or that could not be converted, with what the connection has in memory. The connection
   * keeps its old memory; the next `open` finds the new ones.
   * @throws VifdError ERR_JOURNAL; what is not lost is as it was.
   */
  #renew(settings: FrontendSettings, open: ReadonlyMap<string, OpenedJournal>, vif: Uint8Array): void {
    const journals = this.#journals;
    if (journals === undefined) return;
    const version = this.#version;
    const make = (name: string, kind: JournalKind, content: Uint8Array): void => {
      const old = open.get(name);
      // A copy: write(2) out of a file that was truncated fails with EFAULT, where this process reads zeros.
      if (old === undefined || old.pages.lost() !== undefined) journals.replace(name, content.slice());
      else convertJournal(journals, old, { name, kind, version });
    };
    settings.queues.forEach((_rings, queue) => {
      const name = this.#queueName(queue);
      // Without one nothing is pending, or it would not be renewed now.
      const content = open.get(name)?.pages.bytes ?? new Uint8Array(LAYOUTS[version].queue.bytes);
      make(name, 'queue', content);
    });
    make(this.#vif.id, 'vif', vif);
  }

  /** The guest's connection is over, and so are its journals. */
  remove(): void {
    if (this.#gone) return;
    this.#gone = this.#removeBut(undefined);
  }

  /** Removes those that a connection of so many queues does not have; undefined: all. The counters are no connection's. */
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
      // They name rings that are no more, and will be ignored.
      this.#onError(error);
      return false;
    }
  }

  #queueName(queue: number): string {
    return `${this.#vif.id}.q${queue}`;
  }
}

/** What a newer version alone has is no loss: vifd uses the older one as it is. */
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
