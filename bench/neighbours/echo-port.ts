import { FramePort } from '../../lib/testing/netfront/index.js';

/** Echoes that wait for the ring; more are dropped, and a dropped echo is a lost ping. */
const WAITING_MAX = 256;
const ECHO_BYTES_MAX = 1984;
const [MAC_AT, IP_AT, PORTS_AT, CHECKSUM_AT] = [0, 26, 34, 40];
const [MAC_BYTES, IP_BYTES, PORT_BYTES] = [6, 4, 2];
const [IP_PROTOCOL_AT, IP_PROTOCOL_UDP] = [23, 17];

/** A guest's port that sends each UDP datagram back to its sender, and ignores every other frame. */
export class EchoPort extends FramePort {
  constructor() {
    super({ name: 'echo', queuedMax: WAITING_MAX, onFrame: (frame) => this.#echo(frame) });
  }

  #echo(frame: Uint8Array): void {
    if (frame[IP_PROTOCOL_AT] === IP_PROTOCOL_UDP && frame.length <= ECHO_BYTES_MAX) this.send(echoOf(frame));
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
