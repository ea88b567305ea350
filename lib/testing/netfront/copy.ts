/** The longest copy for which a loop over words is cheaper than a view and a bulk copy. */
const LOOP_BYTES_MAX = 256;

interface Memory {
  readonly bytes: Uint8Array;
  readonly u32: Uint32Array;
}

/** Copies between memories. May write up to three bytes more than asked for. */
export function copyBytes(source: Memory, from: number, target: Memory, to: number, bytes: number): void {
  if (bytes > LOOP_BYTES_MAX || ((from | to) & 3) !== 0) {
    target.bytes.set(source.bytes.subarray(from, from + bytes), to);
    return;
  }
  const [read, write] = [source.u32, target.u32];
  const words = (bytes + 3) >>> 2;
  for (let word = 0; word < words; word++) write[(to >>> 2) + word] = read[(from >>> 2) + word] as number;
}
