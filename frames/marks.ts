/** Marks: a number in each frame's source address, by which a result is known to be that frame's. No checksum covers it. */
const SOURCE = 6;
/** The first bytes of a marked address, which is locally administered. */
const FIRST = 0x02;

export function mark(frame: Uint8Array, number: number): void {
  const view = new DataView(frame.buffer, frame.byteOffset);
  view.setUint16(SOURCE, FIRST << 8);
  view.setUint32(SOURCE + 2, number);
}

export function markOf(frame: Uint8Array): number {
  return new DataView(frame.buffer, frame.byteOffset).getUint32(SOURCE + 2);
}

/** Tells whether two frames are the same but for the source address. */
export function same(one: Uint8Array, other: Uint8Array): boolean {
  if (one.length !== other.length) return false;
  return firstDifference(one, other) < 0;
}

/** @returns where two frames first differ outside the source address; -1: nowhere within the length of the shorter one. */
export function firstDifference(one: Uint8Array, other: Uint8Array): number {
  const end = Math.min(one.length, other.length);
  for (let i = 0; i < end; i++) if (one[i] !== other[i] && (i < SOURCE || i >= SOURCE + 6)) return i;
  return -1;
}
