import {
  FRAME_LENGTH,
  FRAME_OFFSET,
  FRAME_OP_COUNT,
  FRAME_STATUS,
  FRAMES_START,
  frameAt,
} from '../../lib/ports/frame-batch.js';
import type { Port, PortBatches, PortIo, PortOptions } from '../../lib/ports/port.js';
import { VNET_HEADER_BYTES } from '../../lib/protocol/vnet.js';

/** Echoes that wait for the ring; more are dropped, and a dropped echo is a lost ping. */
const WAITING_MAX = 256;
const FIRST_FRAME_AT = 64;
const FRAME_ROOM_BYTES = 2048;
const [MAC_AT, IP_AT, PORTS_AT, CHECKSUM_AT] = [0, 26, 34, 40];
const [MAC_BYTES, IP_BYTES, PORT_BYTES] = [6, 4, 2];
const [IP_PROTOCOL_AT, IP_PROTOCOL_UDP] = [23, 17];

/** A guest's port that sends each UDP datagram back to its sender, and ignores every other frame. */
export class EchoPort implements Port {
  readonly name = 'echo';
  readonly writesMapped = false;
  readonly #waiting: Uint8Array[] = [];
  #wake: (() => void) | undefined;

  open({ writes, reads }: PortBatches, options: PortOptions): PortIo {
    return {
      write: () => {
        const { block, arena } = writes;
        for (let i = 0; i < writes.count; i++) {
          const at = frameAt(i);
          const [offset, length] = [block[at + FRAME_OFFSET], block[at + FRAME_LENGTH]];
          if (length > 0) this.#echo(arena.bytes.subarray(offset, offset + length));
          block[at + FRAME_STATUS] = 0;
        }
        return writes.count;
      },
      read: () => {
        const { block, arena } = reads;
        let offset = block[FRAMES_START] + FIRST_FRAME_AT;
        let count = 0;
        while (count < reads.capacity && offset + FRAME_ROOM_BYTES < arena.bytes.length) {
          const frame = this.#waiting.shift();
          if (frame === undefined) break;
          arena.bytes.fill(0, offset - VNET_HEADER_BYTES, offset);
          arena.bytes.set(frame, offset);
          const at = frameAt(count);
          block[at + FRAME_OFFSET] = offset;
          block[at + FRAME_LENGTH] = frame.length;
          block[at + FRAME_OP_COUNT] = 0;
          block[at + FRAME_STATUS] = 0;
          offset += FRAME_ROOM_BYTES;
          count += 1;
        }
        reads.count = count;
        return count;
      },
      wantReadable: () => {
        this.#wake = () => options.onReadable();
      },
      close: () => {
        this.#wake = undefined;
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #echo(frame: Uint8Array): void {
    if (frame[IP_PROTOCOL_AT] !== IP_PROTOCOL_UDP || frame.length > FRAME_ROOM_BYTES - FIRST_FRAME_AT) return;
    if (this.#waiting.length < WAITING_MAX) this.#waiting.push(echoOf(frame));
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}

/** Swapped ends leave the IP checksum as it is; UDP over IPv4 may go without one (RFC 768), and ours may be unfinished. */
function echoOf(frame: Uint8Array): Uint8Array {
  const echo = frame.slice();
  const swap = (at: number, bytes: number) => {
    echo.copyWithin(at, at + bytes, at + 2 * bytes);
    echo.set(frame.subarray(at, at + bytes), at + bytes);
  };
  swap(MAC_AT, MAC_BYTES);
  swap(IP_AT, IP_BYTES);
  swap(PORTS_AT, PORT_BYTES);
  echo.fill(0, CHECKSUM_AT, CHECKSUM_AT + 2);
  return echo;
}
