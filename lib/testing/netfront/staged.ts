import { CTRL_ADD_GREF_MAPPING, CTRL_DEL_GREF_MAPPING, GREF_READONLY } from '../../protocol/control.js';
import { type Access, PAGE_SIZE } from '../../xen/seam.js';
import { type ControlFront, succeeded } from './control.js';

const ENTRY_WORDS = 2;
/** A list fills a page. */
const ENTRIES_MAX = PAGE_SIZE / (ENTRY_WORDS * 4);

/**
 * Makes the backend map grants, which stay mapped and must not end until `unstageGrants`.
 * @returns whether the backend mapped them all.
 */
export async function stageGrants(
  control: ControlFront,
  queue: number,
  refs: readonly number[],
  access: Access,
): Promise<boolean> {
  for (let from = 0; from < refs.length; from += ENTRIES_MAX) {
    const some = refs.slice(from, from + ENTRIES_MAX);
    const list = listOf(some, access);
    const response = await control.requestWithPage(CTRL_ADD_GREF_MAPPING, list, (ref) => [
      queue,
      ref,
      some.length,
    ]);
    if (!succeeded(response)) return false;
  }
  return true;
}

/** Makes the backend unmap the grants. @returns how many it has unmapped, according to its responses. */
export async function unstageGrants(
  control: ControlFront,
  queue: number,
  refs: readonly number[],
): Promise<number> {
  let count = 0;
  for (let from = 0; from < refs.length; from += ENTRIES_MAX) {
    const some = refs.slice(from, from + ENTRIES_MAX);
    const list = listOf(some, 'write');
    const response = await control.requestWithPage(CTRL_DEL_GREF_MAPPING, list, (ref) => [
      queue,
      ref,
      some.length,
    ]);
    if (succeeded(response)) count += response.data;
  }
  return count;
}

function listOf(refs: readonly number[], access: Access): Uint32Array {
  const list = new Uint32Array(refs.length * ENTRY_WORDS);
  for (const [i, ref] of refs.entries())
    list.set([ref, access === 'read' ? GREF_READONLY : 0], i * ENTRY_WORDS);
  return list;
}
