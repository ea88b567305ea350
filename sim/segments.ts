import { VNET_HEADER_BYTES } from '../lib/protocol/vnet.js';
import { framesOf, type Stream } from './stream.js';

/** Ethernet, IPv4 and TCP of a generated GSO frame, and the payload of its segments (lib/testing/netfront/traffic-frames.ts). */
const HEADERS_BYTES = 54;
const SEGMENT_BYTES = 1448;
const AT_PROTOCOL = 23;
const AT_TCP_SEQUENCE = 38;
const PROTOCOL_TCP = 6;

/** A GSO frame that the guest gets as segments. */
interface Cut {
  /** The frame as it was sent, with the payload that came. */
  readonly whole: Uint8Array;
  /** By number: whether the segment came. */
  readonly came: boolean[];
  readonly count: number;
}

/**
 * Joins the segments that a guest gets to the frame that was sent. Their TCP sequence numbers begin at the frame's number, so they identify
 * it as long as a stream has fewer frames than a segment has bytes.
 */
export class SimSegments {
  /** By process: how many segments came again. */
  readonly repeated: number[] = [];
  readonly #stream: Stream;
  readonly #sizes: readonly number[];
  readonly #mtuBytes: number;
  readonly #cuts = new Map<number, Cut>();

  /** @param sizes of the stream's frames, in turn. */
  constructor(stream: Stream, sizes: readonly number[], mtuBytes: number) {
    this.#stream = stream;
    this.#sizes = sizes;
    this.#mtuBytes = mtuBytes;
  }

  /** The guest got a frame. @returns whether it is a segment. */
  take(frame: Uint8Array, process: number): boolean {
    if (frame.length <= HEADERS_BYTES || frame[AT_PROTOCOL] !== PROTOCOL_TCP) return false;
    const number = new DataView(frame.buffer, frame.byteOffset).getUint32(AT_TCP_SEQUENCE);
    const sequence = number % SEGMENT_BYTES;
    const cut = this.#cutOf(sequence);
    const segment = Math.floor(number / SEGMENT_BYTES);
    if (segment >= cut.count) return false;
    if (cut.came[segment]) {
      this.repeated[process] = (this.repeated[process] ?? 0) + 1;
      return true;
    }
    cut.came[segment] = true;
    const at = VNET_HEADER_BYTES + HEADERS_BYTES + segment * SEGMENT_BYTES;
    cut.whole.set(frame.subarray(HEADERS_BYTES), at);
    if (cut.came.filter((came) => came).length === cut.count) this.#complete(cut.whole, sequence, process);
    return true;
  }

  #complete(whole: Uint8Array, sequence: number, process: number): void {
    const header = whole.subarray(0, VNET_HEADER_BYTES);
    const tag = { seed: this.#stream.seed, sequence };
    this.#stream.take(whole.subarray(VNET_HEADER_BYTES), header, tag, process);
  }

  #cutOf(sequence: number): Cut {
    const known = this.#cuts.get(sequence);
    if (known !== undefined) return known;
    const length = this.#sizes[sequence % this.#sizes.length];
    const count = Math.ceil((length - HEADERS_BYTES) / SEGMENT_BYTES);
    const whole = new Uint8Array(VNET_HEADER_BYTES + length);
    framesOf(this.#stream.seed, this.#mtuBytes).write(whole, VNET_HEADER_BYTES, length, sequence, true);
    // Clears the payload: bytes that no segment brings then differ from the sent ones.
    whole.fill(0, VNET_HEADER_BYTES + HEADERS_BYTES);
    const cut = { whole, came: [], count };
    this.#cuts.set(sequence, cut);
    return cut;
  }
}
