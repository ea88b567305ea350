import { type Ignored, isJournalOf, type JournalPages, type Journals } from '../../durable/journal.js';
import type { FrontendSettings } from '../settings.js';
import type { VifAddress } from '../vif-info.js';
import { QUEUE_JOURNAL_BYTES, type QueueJournal, readQueueJournal } from './queue-journal.js';
import {
  fillVifJournal,
  newVifJournal,
  readVifJournal,
  VIF_JOURNAL_BYTES,
  type VifJournal,
} from './vif-journal.js';

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

const MESSAGES: Record<Ignored, string> = {
  foreign:
    'its journal is of another connection: an empty one was begun, and a kill just before may have cost frames',
  damaged: 'its journal is damaged: an empty one was begun, and frames may be lost',
};

/** The journals of one vif: `vif7.0` for what the guest programmed, `vif7.0.q0` and on for its queues. */
export class VifJournals {
  readonly #journals: Journals | undefined;
  readonly #vif: VifAddress;
  readonly #onError: (error: unknown) => void;
  readonly #onIgnored: (message: string) => void;
  /** There is no journal of the vif. */
  #gone = false;

  constructor(parts: {
    journals: Journals | undefined;
    vif: VifAddress;
    onError: (error: unknown) => void;
    onIgnored: (message: string) => void;
  }) {
    this.#journals = parts.journals;
    this.#vif = parts.vif;
    this.#onError = parts.onError;
    this.#onIgnored = parts.onIgnored;
  }

  /** Opens the journals of a connection that begins or is resumed. One that cannot be had is reported once: its guest is served without. */
  open(settings: FrontendSettings): ConnectionJournals {
    this.#gone = false;
    const { domid, handle } = this.#vif;
    const failed: { error?: unknown } = {};
    const open = new Map<string, JournalPages>();
    const opened = <T>(name: string, bytes: number, read: (journal: Uint8Array) => T): T | undefined => {
      try {
        const journal = this.#journals?.open(name, bytes);
        if (journal === undefined) return undefined;
        open.set(name, journal);
        return read(journal.bytes);
      } catch (error) {
        failed.error ??= error;
        return undefined;
      }
    };
    this.#removeBut(settings.queues.length);
    const queues = settings.queues.map((rings, queue) =>
      opened(this.#queueName(queue), QUEUE_JOURNAL_BYTES, (bytes) =>
        readQueueJournal(bytes, { ...rings, domid, handle, queue }),
      ),
    );
    const vif = opened(this.#vif.id, VIF_JOURNAL_BYTES, (bytes) =>
      readVifJournal(bytes, this.#vif, settings),
    );
    if (failed.error !== undefined) this.#onError(failed.error);
    for (const why of new Set([...queues, vif].map((journal) => journal?.ignored)))
      if (why !== undefined) this.#onIgnored(MESSAGES[why]);
    const journals = { vif: vif ?? newVifJournal(), queues, whole: failed.error === undefined };
    return {
      ...journals,
      lost: () => [...open.values()].map((journal) => journal.lost()).find((why) => why !== undefined),
      close: () => {
        for (const journal of open.values()) journal.close();
        open.clear();
      },
      renew: () => this.#renew(settings, open, journals.vif),
    };
  }

  /**
   * Makes those that are lost, or that there never were, with what the connection has in memory. The connection keeps its old memory; the
   * next `open` finds the new ones.
   * @throws VifdError ERR_JOURNAL; what is not lost is as it was.
   */
  #renew(settings: FrontendSettings, open: ReadonlyMap<string, JournalPages>, vif: VifJournal): void {
    const make = (name: string, size: number, fill: (bytes: Uint8Array) => void): void => {
      const old = open.get(name);
      if (old !== undefined && old.lost() === undefined) return;
      this.#journals?.remove(name);
      const made = this.#journals?.open(name, size);
      if (made === undefined) return;
      if (old === undefined) fill(made.bytes);
      else made.bytes.set(old.bytes);
      made.close();
    };
    settings.queues.forEach((_rings, queue) => {
      make(this.#queueName(queue), QUEUE_JOURNAL_BYTES, () => {});
    });
    make(this.#vif.id, VIF_JOURNAL_BYTES, (bytes) => fillVifJournal(bytes, this.#vif, settings, vif));
  }

  /** The guest's connection is over, and so are its journals. */
  remove(): void {
    if (this.#gone) return;
    this.#gone = this.#removeBut(undefined);
  }

  /** Removes those that a connection of so many queues does not have; undefined: all. */
  #removeBut(queues: number | undefined): boolean {
    const keeps = new Set<string>();
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
