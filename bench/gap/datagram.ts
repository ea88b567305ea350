import { isIPv4 } from 'node:net';

/** Both ends of a UDP datagram in an Ethernet frame. */
export interface Ends {
  readonly sourceMac: string;
  readonly targetMac: string;
  readonly source: string;
  readonly target: string;
  readonly port: number;
}

const IP_AT = 14;
const UDP_AT = 34;
const PAYLOAD_AT = 42;
/** ETH_ZLEN: no frame is shorter. */
const FRAME_BYTES = 60;

/** A frame of 60 bytes whose datagram is `text`. UDP over IPv4 may go without a checksum (RFC 768). */
export function datagramFrame(ends: Ends, text: string): Buffer {
  const frame = Buffer.alloc(FRAME_BYTES);
  const payload = Buffer.from(text);
  frame.set(macBytes(ends.targetMac), 0);
  frame.set(macBytes(ends.sourceMac), 6);
  frame.writeUInt16BE(0x0800, 12);
  frame.writeUInt16BE(0x4500, IP_AT);
  frame.writeUInt16BE(PAYLOAD_AT - IP_AT + payload.length, IP_AT + 2);
  frame.writeUInt16BE((64 << 8) | 17, IP_AT + 8);
  frame.set(addressBytes(ends.source), IP_AT + 12);
  frame.set(addressBytes(ends.target), IP_AT + 16);
  frame.writeUInt16BE(headerChecksum(frame), IP_AT + 10);
  frame.writeUInt16BE(ends.port, UDP_AT);
  frame.writeUInt16BE(ends.port, UDP_AT + 2);
  frame.writeUInt16BE(PAYLOAD_AT - UDP_AT + payload.length, UDP_AT + 4);
  frame.set(payload, PAYLOAD_AT);
  return frame;
}

/** Whether a frame carries a datagram to that port. */
export function isDatagramTo(port: number, frame: Uint8Array): boolean {
  return frame[12] === 0x08 && frame[IP_AT + 9] === 17 && ((frame[36] << 8) | frame[37]) === port;
}

function headerChecksum(frame: Buffer): number {
  let sum = 0;
  for (let at = IP_AT; at < UDP_AT; at += 2) sum += frame.readUInt16BE(at);
  sum = (sum & 0xffff) + (sum >>> 16);
  return ~(sum + (sum >>> 16)) & 0xffff;
}

function macBytes(mac: string): number[] {
  return mac.split(':').map((byte) => Number.parseInt(byte, 16));
}

function addressBytes(address: string): number[] {
  if (!isIPv4(address)) throw new Error(`${address} is no IPv4 address`);
  return address.split('.').map(Number);
}
