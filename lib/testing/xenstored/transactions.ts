import type { Permission } from '../../xen/seam.js';
import { ownerOf } from './permissions.js';
import type { Change, NodeTable, StoreNode } from './tree.js';

const NOBODY: readonly Permission[] = [{ domid: 0, access: 'none' }];
const EMPTY = Buffer.alloc(0);

/** The store itself. */
export class LiveTable implements NodeTable {
  readonly #nodes = new Map<string, StoreNode>();
  readonly #owned = new Map<number, number>();
  #generation = 0;

  /** With the nodes that xenstored starts with (setup_structure in xenstored_core.c). */
  constructor() {
    this.set('/', { value: EMPTY, permissions: NOBODY, children: ['tool'] });
    this.set('/tool', { value: EMPTY, permissions: NOBODY, children: ['xenstored'] });
    this.set('/tool/xenstored', { value: EMPTY, permissions: NOBODY, children: [] });
  }

  get(path: string): StoreNode | undefined {
    return this.#nodes.get(path);
  }

  set(path: string, node: Omit<StoreNode, 'generation'>): void {
    this.#count(this.#nodes.get(path), -1);
    const stored = { ...node, generation: this.nextGeneration() };
    this.#nodes.set(path, stored);
    this.#count(stored, 1);
  }

  delete(path: string): void {
    this.#count(this.#nodes.get(path), -1);
    this.#nodes.delete(path);
  }

  owned(domid: number): number {
    return this.#owned.get(domid) ?? 0;
  }

  nextGeneration(): number {
    this.#generation += 1;
    return this.#generation;
  }

  #count(node: StoreNode | undefined, by: number): void {
    if (node === undefined) return;
    const owner = ownerOf(node.permissions);
    this.#owned.set(owner, this.owned(owner) + by);
  }
}

/**
 * A transaction's view: nodes are as they were when it first read them, and its changes are its own until `commit`. It commits if every node
 * that it has read, a missing one included, is still the same, as the C xenstored does (xenstored_transaction.c). Adding or removing a child
 * changes the parent, so listings are covered.
 */
export class Transaction implements NodeTable {
  readonly #live: LiveTable;
  /** The generation of each node when the transaction first read it; undefined if it did not exist. */
  readonly #seen = new Map<string, number | undefined>();
  /** Nodes as this transaction sees them; undefined: not there. */
  readonly #nodes = new Map<string, StoreNode | undefined>();
  readonly #modified = new Set<string>();
  readonly #owned = new Map<number, number>();
  readonly #changes: Change[] = [];

  constructor(live: LiveTable) {
    this.#live = live;
  }

  get(path: string): StoreNode | undefined {
    if (this.#nodes.has(path)) return this.#nodes.get(path);
    const node = this.#live.get(path);
    this.#seen.set(path, node?.generation);
    this.#nodes.set(path, node);
    return node;
  }

  set(path: string, node: Omit<StoreNode, 'generation'>): void {
    this.#replace(path, { ...node, generation: this.#live.nextGeneration() });
  }

  delete(path: string): void {
    this.#replace(path, undefined);
  }

  owned(domid: number): number {
    return this.#live.owned(domid) + (this.#owned.get(domid) ?? 0);
  }

  /** Watches fire at the commit, not before. */
  changed(change: Change): void {
    this.#changes.push(change);
  }

  get conflicts(): boolean {
    for (const [path, generation] of this.#seen) {
      if (this.#live.get(path)?.generation !== generation) return true;
    }
    return false;
  }

  /** Applies the changes to the store. @returns the changes that watches must get, in order. */
  commit(): readonly Change[] {
    for (const path of this.#modified) {
      const node = this.#nodes.get(path);
      if (node === undefined) this.#live.delete(path);
      else this.#live.set(path, node);
    }
    return this.#changes;
  }

  #replace(path: string, node: StoreNode | undefined): void {
    this.#count(this.get(path), -1);
    this.#count(node, 1);
    this.#nodes.set(path, node);
    this.#modified.add(path);
  }

  #count(node: StoreNode | undefined, by: number): void {
    if (node === undefined) return;
    const owner = ownerOf(node.permissions);
    this.#owned.set(owner, (this.#owned.get(owner) ?? 0) + by);
  }
}
