import type { Found } from './linux.js';

/** @returns the folded one's complement sum of 16-bit words (RFC 1071). An odd last byte is padded with 0. */
function sumOf(view: DataView, from: number, end: number, start = 0): number {
  let sum = start;
  let at = from;
  for (; at + 1 < end; at += 2) sum += view.getUint16(at);
  if (at < end) sum += view.getUint8(at) << 8;
  while (sum > 0xffff) sum = (sum % 0x10000) + Math.floor(sum / 0x10000);
  return sum;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** @returns the frame with its partial checksum completed. UDP has all ones in place of 0 (RFC 768). */
export function completed(frame: Uint8Array, start: number, offset: number): Uint8Array {
  const bytes = frame.slice();
  const view = viewOf(bytes);
  const sum = 0xffff - sumOf(view, start, bytes.length);
  view.setUint16(start + offset, sum === 0 && offset === 6 ? 0xffff : sum);
  return bytes;
}

const [FIN, PSH, CWR] = [0x01, 0x08, 0x80];

/** @returns the segments of a frame of TCP over IPv4 or IPv6; each is a datagram of its own. */
export function segmented(
  frame: Uint8Array,
  { start, offset, version, ip }: Found,
  size: number,
): Uint8Array[] {
  const headers = start + (frame[start + 12] >>> 4) * 4;
  const count = Math.max(1, Math.ceil((frame.length - headers) / size));
  return Array.from({ length: count }, (_, index) => {
    const from = headers + index * size;
    const bytes = new Uint8Array(headers + Math.min(size, frame.length - from));
    bytes.set(frame.subarray(0, headers));
    bytes.set(frame.subarray(from, from + size), headers);
    const view = viewOf(bytes);
    if (version === 4) {
      view.setUint16(ip + 2, bytes.length - ip);
      view.setUint16(ip + 4, (view.getUint16(ip + 4) + index) & 0xffff);
      view.setUint16(ip + 10, 0);
      view.setUint16(ip + 10, 0xffff - sumOf(view, ip, ip + (bytes[ip] & 15) * 4));
    } else {
      view.setUint16(ip + 4, bytes.length - ip - 40);
    }
    view.setUint32(start + 4, (view.getUint32(start + 4) + index * size) >>> 0);
    if (index + 1 < count) bytes[start + 13] &= ~(FIN | PSH);
    if (index > 0) bytes[start + 13] &= ~CWR;
    const addresses = version === 4 ? [ip + 12, ip + 20] : [ip + 8, ip + 40];
    const pseudo = sumOf(view, addresses[0], addresses[1], 6 + bytes.length - start);
    view.setUint16(start + offset, pseudo);
    return completed(bytes, start, offset);
  });
}
