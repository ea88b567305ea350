import { Backoff } from '../../backoff.js';
import { retried, VifdError } from '../../errors.js';
import type { StoreWatch, Xen } from '../../xen/seam.js';
import { Faults } from '../faults/present-faults.js';
import type { VifAddress, VifId } from '../vif-info.js';
import { type Admission, Directory, type DirectoryParts, type Named, type VifPlace } from './directory.js';
import { followStoreConnection } from './store-connection.js';
import { watchFrom } from './watch-from.js';

/**
 * Serves the vifs that a discovery finds. All arguments are plain data, except for `changed` of `found`, so that a server can run in
 * another process: `changed` is called for what happens during `found`, too.
 */
export interface VifServer {
  isServed(id: VifId): boolean;
  /** The domains of the vifs that are served, each once. */
  domids(): ReadonlySet<number>;
  /**
   * Serves the vif at a place, if there is one and it is accepted. Rejects if the vif cannot be read or started; the discovery calls again.
   * @param connectedOnly if true, a vif that is not Connected is not served, and the result is 'waiting'.
   * @param changed returns whether the node changed since this call.
   */
  found(place: VifPlace, connectedOnly: boolean, changed: () => boolean): Promise<Admission>;
  /**
   * Called when a path changed that may concern vifs which are served, or which `found` looks at.
   * @param named one vif; all vifs of a guest; undefined: all vifs.
   */
  changed(path: string, named: Named): void;
  /** Called when a domain is gone that has served vifs. */
  domainGone(domid: number): void;
  /** Called when the store is back after a loss; changes of the meantime are unknown. */
  storeReturned(): void;
}

export interface DiscoveryParts {
  readonly xen: Xen;
  readonly server: VifServer;
  /**
   * Called when a fault begins that belongs to no connection: the store is away, vifs cannot be listed, or a vif cannot be read or started.
   */
  readonly onError: (error: VifdError) => void;
  /** Called when such a fault is over. */
  readonly onMended: (error: VifdError) => void;
}

/** How often to ask the hypervisor whether the domains of vifs exist while the store is away. */
const DOMAINS_LOOK_MS = 1000;

/**
 * Finds the vifs of this domain and reports changes of them to a server. It watches and lists the backend's root, and tries again after a
 * failure. It does not serve vifs itself.
 */
export class Discovery {
  readonly #parts: DiscoveryParts;
  readonly #directory: Directory;
  readonly #faults: Faults;
  /** Looks for vifs again after a look, or the start of a vif, failed. */
  readonly #retry: Backoff;
  /** Domains whose vifs were ended because they are gone. Their nodes may still be there. */
  readonly #goneDomains = new Set<number>();
  #connection: Disposable | undefined;
  #domains: Disposable | undefined;
  #watch: Promise<StoreWatch> | undefined;
  #scan: Promise<void> | undefined;
  #scanAgain = false;
  #closed = false;

  constructor(parts: DiscoveryParts) {
    const { store, domid, clock } = parts.xen;
    this.#parts = parts;
    this.#directory = new Directory({ store, domid, clock, admit: (...of) => this.#admit(...of) });
    this.#faults = new Faults({ onBegin: parts.onError, onEnd: parts.onMended });
    this.#retry = new Backoff(clock, () => this.#lookAgain());
  }

  /** The present faults, in the order in which they began. */
  get faults(): readonly VifdError[] {
    return this.#faults.all;
  }

  /** Starts the discovery. Resolves when it has found the present vifs. @throws VifdError ERR_STORE if the store cannot be read. */
  async open(): Promise<void> {
    const { store } = this.#parts.xen;
    // When the store is back, all vifs are read again, because changes of the meantime are unknown.
    this.#connection = followStoreConnection(store, {
      faults: this.#faults,
      onLost: () => this.#watchDomains(),
      onReturned: () => {
        this.#parts.server.storeReturned();
        this.#lookAgain();
      },
    });
    // The store client merges events, so that one look handles any number of changes (XSA-349).
    this.#watch = watchFrom(store, this.#directory.root, (path) => this.#changed(path));
    await this.#watch;
    // Workers of an earlier supervisor may serve vifs already, and no process has watched these nodes for them until now.
    this.#parts.server.changed(this.#directory.root, undefined);
    await this.look();
  }

  /**
   * Looks for vifs that are not served yet. Changes of the store cause such a look anyway; call this if the server accepts by something
   * other than the store. Calls during a look lead to one more look.
   */
  look(): Promise<void> {
    this.#scanAgain = true;
    this.#scan ??= this.#scanAll().finally(() => {
      this.#scan = undefined;
      // Another look was asked for meanwhile.
      return this.#scanAgain && !this.#closed ? this.look() : undefined;
    });
    return this.#scan;
  }

  /** Call it when a vif is no longer served, because there may be a new vif at its place. */
  lookAt(vif: Pick<VifAddress, 'domid' | 'handle'>): void {
    if (!this.#closed) void this.#directory.lookAt(this.#directory.placeOf(vif));
  }

  /** Stops the discovery at once. Resolves when no look is under way any more, which may take as long as the store is away. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#connection?.[Symbol.dispose]();
    this.#domains?.[Symbol.dispose]();
    this.#retry.cancel();
    // The caller of a look gets its error.
    await Promise.all([this.#unwatch(), this.#scan?.catch(() => undefined)]);
  }

  async #unwatch(): Promise<void> {
    const watch = await this.#watch?.catch(() => undefined);
    await watch?.close();
  }

  #changed(path: string): void {
    const { server } = this.#parts;
    const named = this.#directory.named(path);
    if (named === 'nothing') return;
    const isUnserved = named !== undefined && 'id' in named && !server.isServed(named.id);
    // If a node was removed with all nodes below it, there is only this one event. Called before `found`, which then reads the change.
    server.changed(path, named);
    if (named === undefined) this.#lookAgain();
    else if (!('id' in named)) this.#directory.lookIn(named).catch((error) => this.#unlisted(error));
    else if (isUnserved) void this.#directory.lookAt(named);
  }

  /** While the store is away, asks the hypervisor which guests have ended, since no watch reports it. */
  #watchDomains(): void {
    const { xen, server } = this.#parts;
    if (xen.domainExists === undefined || this.#domains !== undefined) return;
    this.#domains = xen.clock.after(DOMAINS_LOOK_MS, () => {
      this.#domains = undefined;
      if (!this.#faults.has('store')) return;
      for (const domid of server.domids()) {
        if (xen.domainExists?.(domid) !== false) continue;
        this.#goneDomains.add(domid);
        server.domainGone(domid);
      }
      this.#watchDomains();
    });
  }

  /** As `look`, for no caller: a failure becomes a fault, and the look is tried again. */
  #lookAgain(): void {
    this.look().then(
      () => {
        this.#faults.end('look');
        if (this.#faults.all.length === 0) this.#retry.reset();
      },
      (error) => this.#unlisted(error),
    );
  }

  #unlisted(thrown: unknown): void {
    if (this.#closed) return;
    const { code, message, errno } = retried(thrown);
    const details = { cause: thrown, ...(errno === undefined ? {} : { errno }) };
    this.#faults.begin('look', new VifdError(code, `Vifs cannot be listed: ${message}`, details));
    this.#retry.again();
  }

  async #scanAll(): Promise<void> {
    while (this.#scanAgain && !this.#closed) {
      this.#scanAgain = false;
      const there: ReadonlySet<string> = await this.#directory.look();
      this.#faults.forget((kind) => kind.startsWith('vif') && !there.has(kind));
    }
  }

  async #admit(...[place, ...how]: Parameters<DirectoryParts['admit']>): Promise<Admission> {
    const { id } = place;
    try {
      const isGone = this.#isOfGoneDomain(place);
      const admission = isGone ? 'refused' : await this.#parts.server.found(place, ...how);
      if (admission === 'none') this.#faults.forget((kind) => kind === id);
      else if (admission !== 'waiting') this.#faults.end(id);
      return admission;
    } catch (error) {
      // If a vif cannot be read or started, the others are served all the same.
      if (this.#closed) return 'refused';
      const { code, message, errno } = retried(error);
      const details = { vif: id, cause: error, ...(errno === undefined ? {} : { errno }) };
      this.#faults.begin(id, new VifdError(code, `${id} cannot be served yet: ${message}`, details));
      this.#retry.again();
      return 'refused';
    }
  }

  /** Whether a place belongs to a domain that is gone. A new domain may have the same number by now. */
  #isOfGoneDomain({ id, domid }: VifPlace): boolean {
    const { xen, server } = this.#parts;
    if (server.isServed(id)) return false;
    if (this.#goneDomains.has(domid) && xen.domainExists?.(domid) === false) return true;
    this.#goneDomains.delete(domid);
    return false;
  }
}
