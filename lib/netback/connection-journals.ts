import type { FrontendSettings } from './handshake.js';
import { type Ignored, isJournalOf, type JournalPages, type Journals } from './journal.js';
import { QUEUE_JOURNAL_BYTES, type QueueJournal, readQueueJournal } from './queue-journal.js';
import type { VifAddress } from './types.js';
import { newVifJournal, readVifJournal, VIF_JOURNAL_BYTES, type VifJournal } from './vif-journal.js';

export interface ConnectionJournals {
  readonly vif: VifJournal;
  /** Of each queue; undefined where there is none to be had. */
  readonly queues: readonly (QueueJournal | undefined)[];
  /** Each that was asked for could be had. */
  readonly whole: boolean;
  /** The connection has ended: nothing looks at them any more. Idempotent. */
  close(): void;
}

const SAID: Record<Ignored, string> = {
  foreign: 'its journal is of another connection and was ignored',
  damaged: 'its journal is damaged and was ignored: frames may be lost',
};

/** The journals of one vif: `vif7.0` for what the guest programmed, `vif7.0.q0` and on for its queues. */
export class VifJournals {
  readonly #journals: Journals | undefined;
  readonly #vif: VifAddress;
  readonly #onError: (error: unknown) => void;
  readonly #onIgnored: (message: string) => void;
  /** Of no connection is anything there. */
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

  /** A connection begins or goes on. Without a journal it does too: that is said once, and no reason to refuse a guest. */
  open(settings: FrontendSettings): ConnectionJournals {
    this.#gone = false;
    const { domid, handle } = this.#vif;
    const said: { error?: unknown } = {};
    const open: JournalPages[] = [];
    const opened = <T>(name: string, bytes: number, read: (journal: Uint8Array) => T): T | undefined => {
      try {
        const journal = this.#journals?.open(name, bytes);
        if (journal === undefined) return undefined;
        open.push(journal);
        return read(journal.bytes);
      } catch (error) {
        said.error ??= error;
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
    if (said.error !== undefined) this.#onError(said.error);
    for (const why of new Set([...queues, vif].map((journal) => journal?.ignored)))
      if (why !== undefined) this.#onIgnored(SAID[why]);
    const close = () => {
      for (const journal of open.splice(0)) journal.close();
    };
    return { vif: vif ?? newVifJournal(), queues, whole: said.error === undefined, close };
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
