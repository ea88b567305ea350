/** A number in each frame's source address tells which frame what came out is of. It is in no checksum. */
const SOURCE = 6;
/** A locally administered address. */
const FIRST = 0x02;

export function mark(frame: Uint8Array, number: number): void {
  const view = new DataView(frame.buffer, frame.byteOffset);
  view.setUint16(SOURCE, FIRST << 8);
  view.setUint32(SOURCE + 2, number);
}

export function markOf(frame: Uint8Array): number {
  return new DataView(frame.buffer, frame.byteOffset).getUint32(SOURCE + 2);
}

/** Whether two frames are the same but for the source address. */
export function same(one: Uint8Array, other: Uint8Array): boolean {
  if (one.length !== other.length) return false;
  return firstDifference(one, other) < 0;
}

/** @returns where they first differ, the source address apart; -1: nowhere in the shorter one's length. */
export function firstDifference(one: Uint8Array, other: Uint8Array): number {
  const end = Math.min(one.length, other.length);
  for (let i = 0; i < end; i++) if (one[i] !== other[i] && (i < SOURCE || i >= SOURCE + 6)) return i;
  return -1;
}
