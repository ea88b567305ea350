import { VifdError } from '../../errors.js';
import {
  type Access,
  type Arena,
  type GrantBatch,
  OP_ARENA,
  OP_HEAD,
  OP_REF,
  OP_SPAN,
  OP_STATUS,
  OP_WORDS,
  OPS_COUNT,
  OPS_ERRNO,
  OPS_FAILED,
  OPS_HEADER_WORDS,
  PAGE_SIZE,
} from '../../xen/seam.js';
import type { HostCall, HostOf } from './faults.js';
import type { Instance } from './instance.js';
import { GNTST_BAD_COPY_ARG, GNTST_EAGAIN, GNTST_OKAY, type Grant, type GrantTables } from './memory.js';
import type { ModelStagedGrants } from './staged.js';

export interface ModelBatchOptions {
  readonly instance: Instance;
  readonly tables: GrantTables;
  readonly domid: number;
  readonly capacity: number;
  readonly arena: Arena;
  readonly staged: ModelStagedGrants | undefined;
  /** Whether the next operation must fail with GNTST_eagain. */
  readonly fails: () => boolean;
  readonly host: HostOf;
}

const NO_BYTES = new Uint8Array(0);

export class ModelGrantBatch implements GrantBatch {
  readonly capacity: number;
  readonly ops: Uint32Array;
  readonly #options: ModelBatchOptions;
  readonly #withdraw: () => void;
  /** By operation; undefined for those that failed. */
  #mapped: (Grant | undefined)[] = [];
  /** Whether a view of a mapped page was returned, which must become empty. */
  #viewed = false;
  #disposed = false;

  constructor(options: ModelBatchOptions) {
    this.capacity = options.capacity;
    this.ops = new Uint32Array(OPS_HEADER_WORDS + options.capacity * OP_WORDS);
    this.#options = options;
    this.#withdraw = options.instance.hold({ release: () => this.#release(), leak: () => this.#leak() });
  }

  copyFromGuest(): void {
    const count = this.#begin('batch.copyFromGuest', 'copy');
    for (let op = 0; op < count; op++) this.#copy(op, 'read', false);
  }

  copyToGuest(): void {
    const count = this.#begin('batch.copyToGuest', 'copy');
    for (let op = 0; op < count; op++) this.#copy(op, 'write', false);
  }

  mapFromGuest(): void {
    const count = this.#begin('batch.mapFromGuest', 'map');
    this.#release();
    for (let op = 0; op < count; op++) {
      const grant = this.#copy(op, 'read', true);
      if (grant !== undefined) grant.mapped += 1;
      this.#mapped.push(grant);
    }
  }

  mapToGuest(): void {
    const count = this.#begin('batch.mapToGuest', 'map');
    for (let op = 0; op < count; op++) this.#copy(op, 'write', true);
  }

  /** Returns the bytes of an operation that `mapFromGuest` mapped, in the guest's page itself; empty if it is not mapped. */
  mappedBytes(op: number): Uint8Array {
    const grant = this.#mapped[op];
    if (grant === undefined) return NO_BYTES;
    this.#viewed = true;
    const span = this.#word(op, OP_SPAN);
    const start = span & 0xffff;
    return grant.allocation.page(grant.page).subarray(start, start + (span >>> 16));
  }

  unmap(): void {
    if (this.#mapped.length === 0) return;
    this.#options.instance.step('batch.unmap');
    if (this.#failsAsAWhole('unmap')) return;
    this.ops[OPS_ERRNO] = 0;
    this.#release();
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return;
    if (this.#mapped.length > 0) this.#options.instance.step('batch.unmap');
    this.#release();
    this.#withdraw();
    this.#disposed = true;
  }

  /** @returns how many operations to do. No batch runs past its end, whatever the header has. */
  #begin(what: string, call: HostCall): number {
    this.#options.instance.check(what);
    if (this.#disposed) throw new VifdError('ERR_STATE', `${what}: the batch was disposed of`);
    const count = Math.min(this.ops[OPS_COUNT] as number, this.capacity);
    if (count > 0) this.#options.instance.step(what);
    this.ops[OPS_FAILED] = 0;
    this.ops[OPS_ERRNO] = 0;
    return count > 0 && this.#failsAsAWhole(call) ? 0 : count;
  }

  #failsAsAWhole(call: HostCall): boolean {
    const errno = this.#options.host.errno(call);
    if (errno === 0) return false;
    this.ops[OPS_FAILED] = Math.max(this.ops[OPS_COUNT], 1);
    this.ops[OPS_ERRNO] = errno;
    return true;
  }

  /** Does one operation and sets its status. @returns the grant if the operation succeeded. */
  #copy(op: number, access: Access, headOnly: boolean): Grant | undefined {
    const { instance, tables, domid, arena, staged, fails } = this.#options;
    const span = this.#word(op, OP_SPAN);
    const offset = span & 0xffff;
    const length = span >>> 16;
    const bytes = headOnly ? this.#word(op, OP_HEAD) : length;
    const place = this.#word(op, OP_ARENA);
    if (offset + length > PAGE_SIZE || bytes > length || place + bytes > arena.bytes.length) {
      return this.#fail(op, GNTST_BAD_COPY_ARG);
    }
    if (length === 0) {
      this.ops[OPS_HEADER_WORDS + op * OP_WORDS + OP_STATUS] = GNTST_OKAY;
      return undefined;
    }
    const ref = this.#word(op, OP_REF);
    const ready = staged?.find(ref, access);
    if (ready === undefined && fails()) return this.#fail(op, GNTST_EAGAIN);
    const grant = ready ?? tables.find(domid, ref, instance.domid, access);
    if (typeof grant === 'number') return this.#fail(op, grant);
    const page = grant.allocation.page(grant.page);
    if (access === 'read') arena.bytes.set(page.subarray(offset, offset + bytes), place);
    else page.set(arena.bytes.subarray(place, place + bytes), offset);
    this.ops[OPS_HEADER_WORDS + op * OP_WORDS + OP_STATUS] = GNTST_OKAY;
    return grant;
  }

  #fail(op: number, status: number): undefined {
    this.ops[OPS_HEADER_WORDS + op * OP_WORDS + OP_STATUS] = status;
    this.ops[OPS_FAILED] += 1;
    return undefined;
  }

  #word(op: number, field: number): number {
    return this.ops[OPS_HEADER_WORDS + op * OP_WORDS + field] as number;
  }

  #leak(): string | undefined {
    const refs = this.#mapped.filter((grant) => grant !== undefined).map((grant) => grant.ref);
    return refs.length === 0 ? undefined : `mapped grants ${refs.join(', ')} of a batch`;
  }

  #release(): void {
    for (const grant of this.#mapped) {
      if (grant === undefined) continue;
      if (this.#viewed) grant.allocation.move();
      this.#options.tables.release(this.#options.domid, grant);
    }
    this.#viewed = false;
    this.#mapped = [];
  }
}
