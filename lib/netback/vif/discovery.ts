import { Backoff } from '../../backoff.js';
import { retried, VifdError } from '../../errors.js';
import type { StoreWatch, Xen } from '../../xen/seam.js';
import { Faults } from '../faults/present-faults.js';
import type { VifAddress, VifId } from '../vif-info.js';
import { type Admission, Directory, type DirectoryParts, type Named, type VifPlace } from './directory.js';
import { watchFrom } from './watch-from.js';

/**
 * Serves the vifs that a discovery finds. What a discovery tells it is plain data, except for `changed` of `found`: another process could
 * be behind it.
 */
export interface VifServer {
  isServed(id: VifId): boolean;
  /** The domains of the vifs that are served, each once. */
  domids(): ReadonlySet<number>;
  /**
   * There may be a vif at a place: serves it, if it is one and accepted. Rejects if it cannot be read or started; the discovery calls again.
   * @param connectedOnly leaves alone a vif that is not Connected, and returns 'waiting' for it.
   * @param changed tells whether the node changed since this call.
   */
  found(place: VifPlace, connectedOnly: boolean, changed: () => boolean): Promise<Admission>;
  /** A path changed that concerns vifs which are served. @param named one; all of a guest; undefined: all. */
  changed(path: string, named: Named): void;
  /** A domain with vifs that are served is gone. */
  domainGone(domid: number): void;
  /** The store is back after a loss: what happened meanwhile is unknown. */
  storeReturned(): void;
}

export interface DiscoveryParts {
  readonly xen: Xen;
  readonly server: VifServer;
  /** A fault of no single vif's connection began: the store is away, vifs cannot be listed, a vif cannot be read or started. */
  readonly onError: (error: VifdError) => void;
  /** That fault is over. */
  readonly onMended: (error: VifdError) => void;
}

/** How often to ask whether the domains of vifs are there while the store cannot tell. */
const DOMAINS_LOOK_MS = 1000;

/**
 * Finds the vifs of this domain and reports to their server what becomes of them: watches the backend's root, lists it, and tries again what
 * failed. It serves none itself.
 */
export class Discovery {
  readonly #parts: DiscoveryParts;
  readonly #directory: Directory;
  readonly #faults: Faults;
  /** Looks for vifs again after a look, or the start of a vif, failed. */
  readonly #retry: Backoff;
  /** Domains whose vifs were ended because they are gone. Their nodes may still be there. */
  readonly #goneDomains = new Set<number>();
  /** A connection to the store was lost since everything was read last. */
  #missed = false;
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

  /** What is wrong now, in the order in which it began. */
  get faults(): readonly VifdError[] {
    return this.#faults.all;
  }

  /** Resolves when the vifs that are there were found. @throws VifdError ERR_STORE when the store cannot be read. */
  async open(): Promise<void> {
    const { store } = this.#parts.xen;
    this.#connection = store.onConnection((lost) => this.#onConnection(lost));
    // Coalesced by the store client: one look serves any number of changes (XSA-349).
    this.#watch = watchFrom(store, this.#directory.root, (path) => this.#changed(path));
    await this.#watch;
    await this.look();
  }

  /**
   * Finds vifs that are not served yet. Changes of the store lead to it by themselves; it is for a server that accepts by more than the
   * store. Looks that overlap become one more look.
   */
  look(): Promise<void> {
    this.#scanAgain = true;
    this.#scan ??= this.#scanAll().finally(() => {
      this.#scan = undefined;
      // Asked for since the last look.
      return this.#scanAgain && !this.#closed ? this.look() : undefined;
    });
    return this.#scan;
  }

  /** Call it when a vif is not served any more: there may be a new one at its place. */
  lookAt(vif: Pick<VifAddress, 'domid' | 'handle'>): void {
    if (!this.#closed) void this.#directory.lookAt(this.#directory.placeOf(vif));
  }

  /** Finds no vif from now on, at once. Resolves when nothing is under way; the store may be away for as long. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#connection?.[Symbol.dispose]();
    this.#domains?.[Symbol.dispose]();
    this.#retry.cancel();
    // A look that fails is reported where it was asked for.
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
    if (named !== undefined && 'id' in named && !server.isServed(named.id)) {
      void this.#directory.lookAt(named);
      return;
    }
    // Of a node that was removed with all below it there is one event.
    server.changed(path, named);
    if (named === undefined) this.#lookAgain();
    else if (!('id' in named)) this.#directory.lookIn(named).catch((error) => this.#unlisted(error));
  }

  /** The store was lost, or is back: then everything is read anew, since what happened meanwhile is unknown. */
  #onConnection(lost: VifdError | undefined): void {
    if (lost !== undefined) {
      this.#missed ||= lost.errno !== 'ETIMEDOUT';
      this.#faults.begin('store', lost);
      this.#watchDomains();
      return;
    }
    this.#faults.end('store');
    // A xenstored that was silent has kept its watches, and every event comes yet.
    if (!this.#missed) return;
    this.#missed = false;
    this.#parts.server.storeReturned();
    this.#lookAgain();
  }

  /** While the store is away no watch tells that a guest has ended. */
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

  /** As `look`, without a caller that waits: a failure is a fault, and is tried again. */
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
      // A vif that cannot be read or started is no reason not to serve the others.
      if (this.#closed) return 'refused';
      const { code, message, errno } = retried(error);
      const details = { vif: id, cause: error, ...(errno === undefined ? {} : { errno }) };
      this.#faults.begin(id, new VifdError(code, `${id} cannot be served yet: ${message}`, details));
      this.#retry.again();
      return 'refused';
    }
  }

  /** A domain that was gone may be there again, as another with its number. */
  #isOfGoneDomain({ id, domid }: VifPlace): boolean {
    const { xen, server } = this.#parts;
    if (server.isServed(id)) return false;
    if (this.#goneDomains.has(domid) && xen.domainExists?.(domid) === false) return true;
    this.#goneDomains.delete(domid);
    return false;
  }
}
