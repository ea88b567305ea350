import type { StoreView } from '../../xen/seam.js';

/** The reading part of a store. */
export type StoreReader = Pick<StoreView, 'read' | 'readAll' | 'list'>;

/**
 * Caches the values of a vif's nodes until `forget` names a change; then the next read asks the store. `forget` also drops a read that is
 * under way, because the change may have come after its reply. Read only watched nodes through this cache, since it does not notice changes of
 * others. The watch of a frontend's `state` stands for all keys of the frontend (VifNode.note).
 */
export class KnownKeys implements StoreReader {
  readonly #store: StoreReader;
  readonly #values = new Map<string, Promise<string | undefined>>();
  /** The names of the present keys, by folder. */
  readonly #listings = new Map<string, Promise<ReadonlySet<string>>>();

  constructor(store: StoreReader) {
    this.#store = store;
  }

  read(path: string): Promise<string | undefined> {
    return this.#values.get(path) ?? this.#keep(this.#values, path, this.#ask(path));
  }

  /** As `read` for each path; asks the store in one call for all unknown keys of a folder. */
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

  /** Whether the value of any of these paths is known. */
  hasAny(paths: readonly string[]): boolean {
    return paths.some((path) => this.#values.has(path));
  }

  /** Always asks the store. */
  list(path: string): Promise<string[]> {
    return this.#store.list(path);
  }

  /** Lists a folder before these names are read, so that absent keys cost no request: a guest writes only half of the keys in netif.h. */
  expect(folder: string, names: readonly string[]): void {
    const unknown = names.filter((name) => !this.#values.has(`${folder}/${name}`));
    if (unknown.length < 2 || this.#listings.has(folder)) return;
    const listing = this.#store.list(folder).then((found) => new Set(found));
    this.#keep(this.#listings, folder, listing);
  }

  /**
   * Call it when a node changed, was created, or was removed with all nodes below it. Nodes above are forgotten too: they may have been created
   * along with it, and no watch reports that. @returns whether any of these nodes was known.
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

  /** Reads a key. Without a listing it sends the request at once, so that requests are in the order of the calls. */
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

  /** Asks for the paths whose names are in the listing of their folder. @returns the values of all paths. */
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

  #keep<T>(known: Map<string, Promise<T>>, path: string, value: Promise<T>): Promise<T> {
    known.set(path, value);
    // The caller of `read` handles an error; the next read asks the store again.
    value.catch(() => {
      if (known.get(path) === value) known.delete(path);
    });
    return value;
  }
}

/** Forgets a node, and those below and above it. @returns whether any of them was known. */
function forgetIn(values: Map<string, unknown>, path: string): boolean {
  let known = false;
  for (const one of [...values.keys()]) {
    if (one !== path && !one.startsWith(`${path}/`) && !path.startsWith(`${one}/`)) continue;
    values.delete(one);
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
