import { VifdError } from '../../errors.js';
import type { Access, StagedGrants } from '../../xen/seam.js';
import type { HostOf } from './faults.js';
import type { Instance } from './instance.js';
import type { Grant, GrantTables } from './memory.js';

interface Staged {
  readonly grant: Grant;
  readonly access: Access;
}

export class ModelStagedGrants implements StagedGrants {
  readonly #instance: Instance;
  readonly #tables: GrantTables;
  readonly #domid: number;
  readonly #staged = new Map<number, Staged>();
  readonly #withdraw: () => void;
  #disposed = false;

  readonly #host: HostOf;

  constructor(instance: Instance, tables: GrantTables, domid: number, host: HostOf) {
    this.#instance = instance;
    this.#host = host;
    this.#tables = tables;
    this.#domid = domid;
    this.#withdraw = instance.hold({ release: () => this.#clear(), leak: () => this.#leak() });
  }

  get size(): number {
    return this.#staged.size;
  }

  add(refs: readonly number[], access: Access): boolean {
    if (this.#disposed) throw new VifdError('ERR_STATE', 'these staged grants were disposed of: make others');
    this.#instance.step('staged.add');
    if (refs.length > 0) this.#host.check('map', 'Mapping grants to stay mapped');
    const grants = refs.map((ref) => this.#tables.find(this.#domid, ref, this.#instance.domid, access));
    if (grants.some((grant) => typeof grant === 'number')) return false;
    for (const grant of grants as Grant[]) {
      grant.mapped += 1;
      this.#staged.set(grant.ref, { grant, access });
    }
    return true;
  }

  remove(refs: readonly number[]): void {
    if (this.#disposed) throw new VifdError('ERR_STATE', 'these staged grants were disposed of: make others');
    this.#instance.step('staged.remove');
    if (refs.length > 0) this.#host.check('unmap', 'Unmapping grants that were to stay mapped');
    for (const ref of refs) {
      const staged = this.#staged.get(ref);
      if (staged === undefined) continue;
      this.#staged.delete(ref);
      this.#tables.release(this.#domid, staged.grant);
    }
  }

  /** For batches: returns the grant if its page can be used so. */
  find(ref: number, access: Access): Grant | undefined {
    const staged = this.#staged.get(ref);
    return access === 'write' && staged?.access === 'read' ? undefined : staged?.grant;
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#withdraw();
    this.#clear();
  }

  #clear(): void {
    for (const { grant } of this.#staged.values()) this.#tables.release(this.#domid, grant);
    this.#staged.clear();
  }

  #leak(): string | undefined {
    return this.size === 0 ? undefined : `${this.size} staged grants of domain ${this.#domid}`;
  }
}
