import { DEFAULT_QUOTA, type Quota } from './quota.js';
import { type SessionEvents, StoreSession } from './session.js';
import { LiveTable } from './transactions.js';
import { WatchTable } from './watches.js';

/**
 * A xenstored without sockets: the tree, its watches, and which domains it knows. It is synchronous and has neither
 * timers nor I/O. `modelStoreClient` makes the seam's `Store` of it in the same process; `StoreServer` serves it to
 * others.
 */
export class ModelStore {
  readonly quota: Quota;
  /** For sessions. */
  readonly table = new LiveTable();
  readonly watches = new WatchTable();
  readonly #sessions = new Set<StoreSession>();
  readonly #introduced = new Set<number>([0]);

  constructor(options: { quota?: Partial<Quota> } = {}) {
    this.quota = { ...DEFAULT_QUOTA, ...options.quota };
  }

  /** A connection for a domain. The store need not know the domain, so that a socket can come first. */
  connect(domid: number, events: SessionEvents): StoreSession {
    const session = new StoreSession(this, domid, events);
    this.#sessions.add(session);
    return session;
  }

  /** For sessions: forgets one. */
  disconnect(session: StoreSession): void {
    this.#sessions.delete(session);
  }

  isIntroduced(domid: number): boolean {
    return this.#introduced.has(domid);
  }

  /** A domain is there. Watches on `@introduceDomain` fire. */
  introduce(domid: number): void {
    this.#introduced.add(domid);
    this.watches.fireSpecial('@introduceDomain');
  }

  /**
   * A domain has gone: its connections end, with their watches and transactions; its nodes stay, for the toolstack to
   * remove. Watches on `@releaseDomain` fire. @returns false when the store did not know it.
   */
  release(domid: number): boolean {
    if (!this.#introduced.delete(domid)) return false;
    for (const session of [...this.#sessions]) {
      if (session.domid === domid) session.release();
    }
    this.watches.fireSpecial('@releaseDomain');
    return true;
  }
}
