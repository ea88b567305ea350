/**
 * A byte stream in which each byte shows where it belongs: lost, repeated, moved and changed bytes, and those of another
 * stream, differ from the expected ones. A block is its number, the stream's number, and noise from an offset of the block's own.
 */
export const BLOCK_BYTES = 65536;

const HEADER_BYTES = 8;
/** A prime, so that the offsets of successive blocks take all values before one comes again. */
const OFFSETS = 65521;
const OFFSET_STEP = 4099;

const noise = makeNoise(BLOCK_BYTES + OFFSETS);

/** xorshift32 (Marsaglia 2003): the same in every process. */
function makeNoise(bytes: number): Buffer {
  const words = new Uint32Array(Math.ceil(bytes / 4));
  let x = 0x9e3779b9;
  for (let i = 0; i < words.length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    words[i] = x;
  }
  return Buffer.from(words.buffer, 0, bytes);
}

/** Writes block `index` of `stream` into `target`, which has BLOCK_BYTES. */
export function fillBlock(target: Buffer, stream: number, index: number): void {
  target.writeUInt32LE(index >>> 0, 0);
  target.writeUInt32LE(stream, 4);
  const offset = ((index + stream) * OFFSET_STEP) % OFFSETS;
  noise.copy(target, HEADER_BYTES, offset, offset + BLOCK_BYTES - HEADER_BYTES);
}

/** Compares what arrives with what was sent. */
export class PatternChecker {
  /** Bytes checked. */
  position = 0;
  readonly #stream: number;
  readonly #expected = Buffer.alloc(BLOCK_BYTES);
  #block = -1;

  constructor(stream: number) {
    this.#stream = stream;
  }

  /** @returns how many of the bytes that come next in the stream are not what they should be. */
  check(chunk: Buffer): number {
    let differing = 0;
    for (let at = 0; at < chunk.length; ) {
      const within = this.position % BLOCK_BYTES;
      const length = Math.min(chunk.length - at, BLOCK_BYTES - within);
      this.#expect((this.position - within) / BLOCK_BYTES);
      if (this.#expected.compare(chunk, at, at + length, within, within + length) !== 0) {
        for (let i = 0; i < length; i++) {
          if (chunk[at + i] !== this.#expected[within + i]) differing += 1;
        }
      }
      at += length;
      this.position += length;
    }
    return differing;
  }

  #expect(block: number): void {
    if (block === this.#block) return;
    fillBlock(this.#expected, this.#stream, block);
    this.#block = block;
  }
}
