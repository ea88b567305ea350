import { isDeepStrictEqual } from 'node:util';
import type { BenchGuest } from './guest.js';
import type { TypeScriptLoop } from './loop.js';
import type { CxxLoop } from './machines.js';
import { type Cell, once } from './measure.js';

/**
 * Two loops that do different work cannot be compared: both get the same requests, and everything that they leave
 * behind must be the same, byte for byte: responses, payload in the guest's pages, and frames with their headers.
 * @throws otherwise.
 */
export function verifySame(cell: Cell, guest: BenchGuest, cxx: CxxLoop, native: TypeScriptLoop): void {
  const results = [cxx, native].map((loop) => {
    loop.setSource(cell.frame.fromPort);
    guest.reset();
    once(cell, guest, loop);
    const frames = cell.direction === 'from-guest' ? loop.lastFrames() : [];
    return [...guest.evidence(), ...frames].map((bytes) => Buffer.from(bytes));
  });
  if (!isDeepStrictEqual(results[0], results[1])) {
    throw new Error(`${cell.direction}, ${cell.frame.name}, batch ${cell.batch}: C++ and TypeScript differ`);
  }
}
