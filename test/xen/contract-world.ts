/** Code that the files of the contract share. */
import type { HostCall } from '../../lib/testing/model/faults.js';
import {
  type Arena,
  type GrantBatch,
  OP_ARENA,
  OP_HEAD,
  OP_REF,
  OP_SPAN,
  OP_STATUS,
  OP_WORDS,
  OPS_COUNT,
  OPS_HEADER_WORDS,
  PAGE_SIZE,
  type SharedPages,
  type StoredEvents,
  type Xen,
} from '../../lib/xen/seam.js';

export interface World {
  readonly backend: Xen;
  readonly frontend: Xen;
  allocate(pages: number): SharedPages;
  settle(): Promise<void>;
  /** Makes a call of the backend's host fail until `heal`. */
  fail(call: HostCall, errno: string): void;
  heal(): void;
  eventually(condition: () => boolean): Promise<void>;
  killedAfterBinding(remotePorts: readonly number[]): Promise<StoredEvents>;
}

export const GNTST_bad_copy_arg = -10;
export const GNTST_bad_domain = -2;

export interface Op {
  readonly ref: number;
  readonly offset?: number;
  readonly length: number;
  readonly arena: number;
  readonly head?: number;
}

export function fill(batch: GrantBatch, ops: readonly Op[]): void {
  batch.ops[OPS_COUNT] = ops.length;
  ops.forEach((op, index) => {
    const at = OPS_HEADER_WORDS + index * OP_WORDS;
    batch.ops[at + OP_REF] = op.ref;
    batch.ops[at + OP_SPAN] = ((op.offset ?? 0) | (op.length << 16)) >>> 0;
    batch.ops[at + OP_ARENA] = op.arena;
    batch.ops[at + OP_HEAD] = op.head ?? 0;
    batch.ops[at + OP_STATUS] = 0xdead;
  });
}

export function statuses(batch: GrantBatch): number[] {
  const count = batch.ops[OPS_COUNT] as number;
  return Array.from(
    { length: count },
    (_, i) => (batch.ops[OPS_HEADER_WORDS + i * OP_WORDS + OP_STATUS] as number) | 0,
  );
}

/** Bytes that differ from page to page and along a page. */
export function paint(memory: Uint8Array, seed: number): void {
  for (let i = 0; i < memory.length; i++) memory[i] = (seed + i + (i >> 12) * 7) & 0xff;
}

export function slice(memory: Uint8Array, start: number, length: number): number[] {
  return Array.from(memory.subarray(start, start + length));
}

export interface Granted {
  readonly shared: SharedPages;
  readonly refs: number[];
  readonly arena: Arena;
  readonly batch: GrantBatch;
}

export function granted(world: World, pages: number, access: 'read' | 'write', capacity = pages): Granted {
  const shared = world.allocate(pages);
  const refs = Array.from({ length: pages }, (_, page) => shared.grant(page, world.backend.domid, access));
  const arena = world.backend.grants.arena(capacity * PAGE_SIZE);
  const batch = world.backend.grants.batch({ domid: world.frontend.domid, capacity, arena });
  return { shared, refs, arena, batch };
}
