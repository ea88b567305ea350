import type { StoreView } from '../../xen/seam.js';

/** The reading part of a store. */
export type StoreReader = Pick<StoreView, 'read' | 'readAll' | 'list'>;

/**
 * Keeps what was read of a vif's nodes until `forget` names a change; then the next read asks the store. A read that is under way at
 * that moment is forgotten too, since the change may have come after its reply. Read only watched nodes through it: changes of others
 * would go unnoticed. The keys of a frontend are watched by its `state` (VifNode.note).
 */
export class KnownKeys implements StoreReader {
  readonly #store: StoreReader;
  readonly #values = new Map<string, Promise<string | undefined>>();
  /** By folder: the names of the keys that are there. */
  readonly #listings = new Map<string, Promise<ReadonlySet<string>>>();

  constructor(store: StoreReader) {
    this.#store = store;
  }

  read(path: string): Promise<string | undefined> {
    return this.#values.get(path) ?? this.#keep(this.#values, path, this.#ask(path));
  }

  /** As `read` for each path: asks the store in one call for all that are unknown of a folder. */
  readAll(paths: readonly string[]): Promise<readonly (string | undefined)[]> {
    const unknown = new Map<string, string[]>();
    for (const path of paths) {
      if (this.#values.has(path)) continue;
      const folder = folderOf(path);
      const others = unknown.get(folder);
      if (others === undefined) unknown.set(folder, [path]);
      else others.push(path);
    }
    for (const [folder, some] of unknown) this.#askAll(folder, some);
    return Promise.all(paths.map((path) => this.read(path)));
  }

  /** Whether any of these is known. */
  hasAny(paths: readonly string[]): boolean {
    return paths.some((path) => this.#values.has(path));
  }

  /** Always asks the store. */
  list(path: string): Promise<string[]> {
    return this.#store.list(path);
  }

  /** Lists a folder of which these names will be read, so that absent ones cost no request: a guest writes half of netif.h's keys. */
  expect(folder: string, names: readonly string[]): void {
    const unknown = names.filter((name) => !this.#values.has(`${folder}/${name}`));
    if (unknown.length < 2 || this.#listings.has(folder)) return;
    const listing = this.#store.list(folder).then((found) => new Set(found));
    this.#keep(this.#listings, folder, listing);
  }

  /**
   * Call it when a node changed, was made or was removed with all below it. Nodes above are forgotten too: they may have been made along
   * with it, and no watch tells of that. @returns whether anything of these was known.
   */
  forget(path: string): boolean {
    this.#listings.delete(folderOf(path));
    const lists = forgetIn(this.#listings, path);
    return forgetIn(this.#values, path) || lists;
  }

  forgetAll(): void {
    this.#values.clear();
    this.#listings.clear();
  }

  /** Sends the request at once where there is no listing, so that requests are in the order of the calls. */
  #ask(path: string): Promise<string | undefined> {
    const listing = this.#listings.get(folderOf(path));
    if (listing === undefined) return this.#store.read(path);
    return listing.then((names) => (names.has(nameOf(path)) ? this.#store.read(path) : undefined));
  }

  #askAll(folder: string, paths: readonly string[]): void {
    const listing = this.#listings.get(folder);
    const asked = listing === undefined ? this.#store.readAll(paths) : this.#readListed(paths, listing);
    paths.forEach((path, index) => {
      const value = asked.then((values) => values[index]);
      void this.#keep(this.#values, path, value);
    });
  }

  /** Asks for those paths that a listing of their folder names. @returns the values of all. */
  async #readListed(
    paths: readonly string[],
    listing: Promise<ReadonlySet<string>>,
  ): Promise<readonly (string | undefined)[]> {
    const names = await listing;
    const there = paths.filter((path) => names.has(nameOf(path)));
    const values = await this.#store.readAll(there);
    const found = new Map(there.map((path, index) => [path, values[index]]));
    return paths.map((path) => found.get(path));
  }

  #keep<T>(kept: Map<string, Promise<T>>, path: string, value: Promise<T>): Promise<T> {
    kept.set(path, value);
    // The reader handles an error; the next read asks again.
    value.catch(() => {
      if (kept.get(path) === value) kept.delete(path);
    });
    return value;
  }
}

/** Forgets what is kept of a node and of those below and above it. @returns whether there was anything. */
function forgetIn(kept: Map<string, unknown>, path: string): boolean {
  let known = false;
  for (const one of [...kept.keys()]) {
    if (one !== path && !one.startsWith(`${path}/`) && !path.startsWith(`${one}/`)) continue;
    kept.delete(one);
    known = true;
  }
  return known;
}

function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/'));
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}
