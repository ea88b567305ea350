import { VifdError } from '../../errors.js';
import type { Access, BatchOptions, Grants, Mapping, OwnArena } from '../../xen/seam.js';
import { ModelGrantBatch } from './batch.js';
import type { HostOf } from './faults.js';
import type { Instance } from './instance.js';
import { type Allocation, type Grant, type GrantTables, ModelArena } from './memory.js';
import { ModelStagedGrants } from './staged.js';

/** `Grants` of the model. */
export class ModelGrants implements Grants {
  readonly #instance: Instance;
  readonly #tables: GrantTables;
  readonly #fails: () => boolean;
  readonly #host: HostOf;

  constructor(instance: Instance, tables: GrantTables, fails: () => boolean, host: HostOf) {
    this.#instance = instance;
    this.#tables = tables;
    this.#fails = fails;
    this.#host = host;
  }

  map(domid: number, refs: readonly number[], access: Access): Mapping {
    this.#instance.check('grants.map');
    if (refs.length === 0)
      throw new VifdError('ERR_ARGUMENT', 'no grant references to map: give at least one');
    this.#instance.step('grants.map');
    this.#host.check('map', `Mapping ${refs.length} pages of domain ${domid}`);
    const grants: Grant[] = [];
    const refused: string[] = [];
    for (const ref of refs) {
      const grant = this.#tables.find(domid, ref, this.#instance.domid, access);
      if (typeof grant === 'number') refused.push(`${ref} (status ${grant})`);
      else grants.push(grant);
    }
    if (refused.length > 0) {
      throw new VifdError(
        'ERR_XEN_GRANT',
        `domain ${domid} has not granted domain ${this.#instance.domid} the right to ${access}: ` +
          `reference ${refused.join(', ')}`,
      );
    }
    return new ModelMapping(this.#instance, this.#tables, domid, grants);
  }

  arena(bytes: number): OwnArena {
    this.#instance.check('grants.arena');
    this.#host.check('arena', `Allocating ${bytes} bytes`);
    return new ModelArena(bytes);
  }

  staged(domid: number): ModelStagedGrants {
    this.#instance.check('grants.staged');
    return new ModelStagedGrants(this.#instance, this.#tables, domid, this.#host);
  }

  batch({ domid, capacity, arena, staged }: BatchOptions): ModelGrantBatch {
    this.#instance.check('grants.batch');
    if (!Number.isInteger(capacity) || capacity < 1) {
      throw new VifdError(
        'ERR_ARGUMENT',
        `a batch for ${capacity} operations is not possible: give at least 1`,
      );
    }
    return new ModelGrantBatch({
      instance: this.#instance,
      tables: this.#tables,
      domid,
      capacity,
      arena,
      staged: staged instanceof ModelStagedGrants ? staged : undefined,
      fails: this.#fails,
      host: this.#host,
    });
  }
}

/**
 * Unlike native views, its views also become empty when another mapping unmaps a page of the same allocation; `page` then returns a new one.
 * So a frontend puts each ring into an allocation of its own, apart from payload. And a page that is mapped for reading can be written here,
 * where a native one faults.
 */
class ModelMapping implements Mapping {
  readonly #instance: Instance;
  readonly #tables: GrantTables;
  readonly #granter: number;
  readonly #withdraw: () => void;
  readonly #viewed = new Set<Allocation>();
  #grants: readonly Grant[];

  constructor(instance: Instance, tables: GrantTables, granter: number, grants: readonly Grant[]) {
    this.#instance = instance;
    this.#tables = tables;
    this.#granter = granter;
    this.#grants = grants;
    for (const grant of grants) grant.mapped += 1;
    this.#withdraw = instance.hold({
      release: () => this.#release(),
      leak: () => `mapped grants ${this.#refs()}`,
    });
  }

  get mapped(): boolean {
    return this.#grants.length > 0;
  }

  page(index: number): Uint8Array {
    this.#instance.check('mapping.page');
    if (!this.mapped)
      throw new VifdError('ERR_STATE', 'the mapping has ended: its pages cannot be seen any more');
    const grant = this.#grants[index];
    if (grant === undefined) {
      throw new VifdError('ERR_ARGUMENT', `there is no page ${index}: ${this.#grants.length} are mapped`);
    }
    this.#viewed.add(grant.allocation);
    return grant.allocation.page(grant.page);
  }

  unmap(): void {
    if (!this.mapped) return;
    this.#instance.step('grants.unmap');
    this.#withdraw();
    this.#release();
  }

  [Symbol.dispose](): void {
    this.unmap();
  }

  /** The kernel may unmap the pages of a process that was killed when the next process has mapped them already, whose views stay. */
  #isToMove(allocation: Allocation): boolean {
    const isMapped = this.#grants.some((grant) => grant.allocation === allocation && grant.mapped > 0);
    return this.#instance.alive || !isMapped;
  }

  #refs(): string {
    return this.#grants.map((grant) => grant.ref).join(', ');
  }

  #release(): void {
    for (const grant of this.#grants) this.#tables.release(this.#granter, grant);
    for (const allocation of this.#viewed) if (this.#isToMove(allocation)) allocation.move();
    this.#viewed.clear();
    this.#grants = [];
  }
}
