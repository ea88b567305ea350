import type { Offload } from '../../ports/offload.js';
import * as headers from '../../protocol/headers.js';
import type { Arena } from '../../xen/seam.js';
import type { FrameHeaders } from './frame.js';
import { csumOffsetOf, csumStartOf, gsoSizeOf, gsoTypeOf } from './offload-words.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { HEADERS_BYTES } = headers;

/**
 * The FrameHeaders of an arena, which `aim` points at one frame after the other. Reads stop at HEADERS_BYTES in both payload modes: if pages
 * are mapped, the arena has only these bytes of a frame, and the guest may still change the others.
 */
export class HeaderView implements FrameHeaders {
  /** What `words` and the DataView were made of. Private at run time, too: it has the bytes of all frames. */
  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;
  /** A read of it throws once the arena's memory is unmapped, since its buffer is detached then. */
  readonly #view: DataView;
  #offset = 0;
  #length = 0;
  #readable = 0;

  constructor({ bytes, u32 }: Arena) {
    this.#bytes = bytes;
    this.#words = u32;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  isOf(arena: Arena): boolean {
    return this.#bytes === arena.bytes;
  }

  get length(): number {
    return this.#length;
  }

  get readable(): number {
    return this.#readable;
  }

  get csumStart(): number {
    return this.#length === 0 ? 0 : csumStartOf(this.#words, this.#offset);
  }

  get csumOffset(): number {
    return this.#length === 0 ? 0 : csumOffsetOf(this.#words, this.#offset);
  }

  get gsoType(): Offload['gsoType'] {
    return this.#length === 0 ? 'none' : gsoTypeOf(this.#words, this.#offset);
  }

  get gsoSize(): number {
    return this.#length === 0 ? 0 : gsoSizeOf(this.#words, this.#offset);
  }

  // A small body: V8 compiles all that a filter calls into its code, up to 920 bytes of bytecode (--max-inlined-bytecode-size-cumulative).
  // The first comparison fails for negative numbers, fractions and all that is no number. `| 0` saves the check for an overflow.

  u8(at: number): number {
    if (at >>> 0 !== at || at >= this.#readable) throwUnreadable(this, at);
    return this.#view.getUint8((this.#offset + at) | 0);
  }

  u16(at: number): number {
    if (at >>> 0 !== at || at + 2 > this.#readable) throwUnreadable(this, at);
    return this.#view.getUint16((this.#offset + at) | 0);
  }

  u32(at: number): number {
    return this.i32(at) >>> 0;
  }

  /** Returns a number that V8 stores without memory of its own (a Smi), even where it calls this function instead of inlining it. */
  i32(at: number): number {
    if (at >>> 0 !== at || at + 4 > this.#readable) throwUnreadable(this, at);
    return this.#view.getInt32((this.#offset + at) | 0);
  }

  /** Points at a frame: where it begins in the arena, and its length. */
  aim(offset: number, length: number): void {
    this.#offset = offset;
    this.#length = length;
    this.#readable = length < HEADERS_BYTES ? length : HEADERS_BYTES;
  }

  /** Points at no frame: each read throws. */
  end(): void {
    this.#length = 0;
    this.#readable = 0;
  }
}

function throwUnreadable({ length, readable }: FrameHeaders, at: unknown): never {
  if (length === 0) throw new RangeError('A frame can be read only until the filter returns');
  throw new RangeError(
    `A read at ${String(at)} ends beyond what is readable: ${readable} bytes of a frame of ${length}`,
  );
}
