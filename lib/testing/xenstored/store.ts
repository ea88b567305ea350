import { VifdError } from '../../errors.js';
import { DEFAULT_QUOTA, type Quota } from './quota.js';
import { type SessionEvents, StoreSession } from './session.js';
import { LiveTable } from './transactions.js';
import { WatchTable } from './watches.js';

/**
 * A xenstored without sockets: the tree, its watches, and the domains that it knows. It is synchronous and has neither timers nor I/O.
 * `modelStoreClient` makes the seam's `Store` from it in the same process; `StoreServer` serves it to others.
 */
export class ModelStore {
  /** The limits of each domain other than dom0. */
  readonly quota: Quota;
  /** @internal For sessions. */
  table = new LiveTable();
  /** @internal For sessions. */
  readonly watches = new WatchTable();
  readonly #sessions = new Set<StoreSession>();
  readonly #introduced = new Set<number>([0]);
  readonly #waiting = new Set<() => void>();
  #running = true;

  /** @param options `quota`: the limits of each domain. Default: xenstored's. */
  constructor(options: { quota?: Partial<Quota> } = {}) {
    this.quota = { ...DEFAULT_QUOTA, ...options.quota };
  }

  /** @internal Returns a connection for a domain. The store need not know the domain, so that a socket can exist before it. */
  connect(domid: number, events: SessionEvents): StoreSession {
    if (!this.#running) throw new VifdError('ERR_STATE', "The model's xenstored is stopped: start it first.");
    const session = new StoreSession(this, domid, events);
    this.#sessions.add(session);
    return session;
  }

  /** @internal For sessions: forgets one. */
  disconnect(session: StoreSession): void {
    this.#sessions.delete(session);
  }

  /** False between `stop` and `start`: sessions cannot be opened. */
  get running(): boolean {
    return this.#running;
  }

  /** Acts as if xenstored was killed: every connection ends, with its watches and transactions. Idempotent. */
  stop(): void {
    this.#running = false;
    for (const session of [...this.#sessions]) session.lose();
  }

  /**
   * Acts as if xenstored was started again: waiting clients connect again. @param contents 'lost': the tree is that of a new store.
   * Idempotent.
   */
  start(contents: 'preserved' | 'lost' = 'preserved'): void {
    if (this.#running) return;
    if (contents === 'lost') this.table = new LiveTable();
    this.#running = true;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const connect of waiting) connect();
  }

  /** Calls `connect` once, at the next `start`. @returns a function that cancels that. */
  onceStarted(connect: () => void): () => void {
    this.#waiting.add(connect);
    return () => this.#waiting.delete(connect);
  }

  /** Returns whether the store knows the domain. */
  isIntroduced(domid: number): boolean {
    return this.#introduced.has(domid);
  }

  /** Adds a domain. Watches on `@introduceDomain` fire. */
  introduce(domid: number): void {
    this.#introduced.add(domid);
    this.watches.fireSpecial('@introduceDomain');
  }

  /**
   * Removes a domain: its connections end, with their watches and transactions; the toolstack removes its nodes. Watches on `@releaseDomain`
   * fire. @returns false if the store did not know it.
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
