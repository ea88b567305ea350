/** Cuts a TCP or UDP frame of up to 64 KiB into frames of a given payload, as a network card with TSO or USO does. */
import * as checksum from './checksum.js';
import * as headers from './headers.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { adjustPseudoChecksum, completeChecksum, locateChecksum, tcpHeaderEnd, writePseudoOf } = checksum;
const { TCP_CHECKSUM_OFFSET, UDP_CHECKSUM_OFFSET, UDP_HEADER_BYTES } = headers;
const { CHAIN_LEGAL, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_HEADER_BYTES, IPV6_HEADER_BYTES } = headers;
const { be16, extensionOf, PROTOCOL_TCP, PROTOCOL_UDP } = headers;

// linux/if_ether.h; 0x9100 is an older tag of network providers.
const TAGS: readonly number[] = [0x8100, 0x88a8, 0x9100];
const ETHERTYPE_MPLS = 0x8847;
const ETHERTYPE_MPLS_MULTICAST = 0x8848;
const ETHERTYPE_PPPOE = 0x8864;
const PPP_IPV4 = 0x0021;
const PPP_IPV6 = 0x0057;
const PROTOCOL_IPV4 = 4;
const PROTOCOL_IPV6 = 41;
const PROTOCOL_GRE = 47;
/** GRE's checksum and sequence number (RFC 2784, RFC 2890) differ from segment to segment: a Linux sender segments before it adds them. */
const GRE_CHECKSUM_OR_SEQUENCE = 0x9000;

/** TCP flags (RFC 9293, RFC 3168): a segment but the last has neither, a segment but the first has no CWR. */
const TCP_FIN_PSH = 0x01 | 0x08;
const TCP_CWR = 0x80;

/** How many IP headers may be nested: as many as in Linux's own tunnels by default (ip6_tunnel's encapsulation limit). */
const LAYERS_MAX = 4;
const NO_HEADER = -1;

/** Plans how a frame is cut, and writes its segments. One object serves one frame after the other. */
export class Segments {
  /** Bytes in front of the payload of each segment. */
  headerBytes = 0;
  payloadBytes = 0;
  count = 0;
  /** All segments together. */
  totalBytes = 0;
  #start = 0;
  #length = 0;
  #csumStart = 0;
  #csumOffset = 0;
  #gsoBytes = 0;
  #partial = false;
  /** The IP header in front of the TCP or UDP header, or NO_HEADER. */
  #ip = NO_HEADER;
  #isIpv4 = false;
  /** By two: the offset of a field of 16 bits that holds a length, and the offset from which that length counts. */
  readonly #lengths = new Uint16Array(2 * (3 * LAYERS_MAX + 2));
  #lengthCount = 0;
  readonly #ipv4s = new Uint16Array(LAYERS_MAX + 1);
  #ipv4Count = 0;
  /** By three, for tunnels over UDP with a checksum: offsets of the UDP header and of its IP header, and 1 for IPv4 or 0 for IPv6. */
  readonly #udps = new Uint16Array(3 * LAYERS_MAX);
  #udpCount = 0;

  get isUdp(): boolean {
    return this.#csumOffset === UDP_CHECKSUM_OFFSET;
  }

  /**
   * Works out the segments of a frame without writing them, so that the caller can judge their size first.
   * @param csumStart as in virtio_net_hdr, with `csumOffset`: names the TCP or UDP header, behind any tags, tunnels and extension
   *   headers. Both 0: the frame has a complete checksum, and `plan` looks for the header.
   * @returns false for a frame that its headers contradict, or that cannot be cut (a tunnel with a sequence number).
   */
  plan(
    bytes: Uint8Array,
    start: number,
    length: number,
    csumStart: number,
    csumOffset: number,
    gsoBytes: number,
  ): boolean {
    this.#partial = csumOffset !== 0;
    const where = this.#partial ? csumStart | (csumOffset << 16) : locateChecksum(bytes, start, length);
    this.#start = start;
    this.#length = length;
    this.#csumStart = where & 0xffff;
    this.#csumOffset = where >>> 16;
    this.#gsoBytes = gsoBytes;
    this.headerBytes = this.#headerEnd(bytes);
    if (this.headerBytes === 0 || gsoBytes === 0 || !this.#walk(bytes)) return false;
    this.payloadBytes = length - this.headerBytes;
    this.count = Math.max(1, Math.ceil(this.payloadBytes / gsoBytes));
    this.totalBytes = this.count * this.headerBytes + this.payloadBytes;
    return true;
  }

  /** @returns bytes of segment `index`, its headers included. */
  bytesOf(index: number): number {
    const from = index * this.#gsoBytes;
    return this.headerBytes + Math.min(this.#gsoBytes, this.payloadBytes - from);
  }

  /**
   * Writes segment `index` of the planned frame to `into`, at `at`, with complete checksums. `bytes` and `into` may be the same memory,
   * if frame and segment do not overlap.
   * @returns the segment's length.
   */
  write(bytes: Uint8Array, index: number, into: Uint8Array, at: number): number {
    const { headerBytes } = this;
    const start = this.#start;
    const from = start + headerBytes + index * this.#gsoBytes;
    const length = this.bytesOf(index);
    const end = from + length - headerBytes;
    if (into === bytes) {
      into.copyWithin(at, start, start + headerBytes);
      into.copyWithin(at + headerBytes, from, end);
    } else {
      into.set(bytes.subarray(start, start + headerBytes), at);
      into.set(bytes.subarray(from, end), at + headerBytes);
    }
    this.#fixNetwork(into, at, length, index);
    this.#fixTransport(into, at, length, index);
    for (let i = this.#udpCount - 1; i >= 0; i--) {
      const [udp, ip, isIpv4] = [this.#udps[i * 3], this.#udps[i * 3 + 1], this.#udps[i * 3 + 2]];
      writePseudoOf(into, at, ip, isIpv4 === 1, udp | (UDP_CHECKSUM_OFFSET << 16), length);
      completeChecksum(into, at, length, udp, UDP_CHECKSUM_OFFSET);
    }
    return length;
  }

  #headerEnd(bytes: Uint8Array): number {
    const csumStart = this.#csumStart;
    if (this.#csumOffset === TCP_CHECKSUM_OFFSET)
      return tcpHeaderEnd(bytes, this.#start, this.#length, csumStart);
    const end = csumStart + UDP_HEADER_BYTES;
    return this.#csumOffset === UDP_CHECKSUM_OFFSET && end <= this.#length ? end : 0;
  }

  /** Mends the IP headers: each segment is a datagram with its own length, identification and header checksum. */
  #fixNetwork(into: Uint8Array, at: number, length: number, index: number): void {
    for (let i = 0; i < this.#lengthCount; i++)
      put16(into, at + this.#lengths[2 * i], length - this.#lengths[2 * i + 1]);
    for (let i = 0; i < this.#ipv4Count; i++) {
      const ip = this.#ipv4s[i];
      put16(into, at + ip + 4, (be16(into, at + ip + 4) + index) & 0xffff);
      put16(into, at + ip + 10, 0);
      completeChecksum(into, at, ip + (into[at + ip] & 0x0f) * 4, ip, 10);
    }
  }

  #fixTransport(into: Uint8Array, at: number, length: number, index: number): void {
    const [csumStart, csumOffset] = [this.#csumStart, this.#csumOffset];
    const header = at + csumStart;
    if (csumOffset === TCP_CHECKSUM_OFFSET) {
      put32(into, header + 4, (get32(into, header + 4) + index * this.#gsoBytes) >>> 0);
      if (index < this.count - 1) into[header + 13] &= ~TCP_FIN_PSH;
      if (index > 0) into[header + 13] &= ~TCP_CWR;
    } else put16(into, header + 4, length - csumStart);
    // The partial checksum covers the final destination, which a routing header names in place of the IP header.
    if (this.#partial)
      adjustPseudoChecksum(into, header + csumOffset, this.#length - csumStart, length - csumStart);
    else writePseudoOf(into, at, this.#ip, this.#isIpv4, csumStart | (csumOffset << 16), length);
    completeChecksum(into, at, length, csumStart, csumOffset);
  }

  /** Finds the fields in front of the TCP or UDP header that differ from segment to segment. @returns false if the frame cannot be cut. */
  #walk(bytes: Uint8Array): boolean {
    this.#lengthCount = 0;
    this.#ipv4Count = 0;
    this.#udpCount = 0;
    this.#ip = NO_HEADER;
    const end = this.#csumStart;
    let at = this.#walkEthernet(bytes);
    for (let layers = 0; layers < LAYERS_MAX && (at & 0xffff) < end; layers++) {
      const next = this.#walkIp(bytes, at & 0xffff, at >>> 16);
      if (next < 0) return false;
      at = next;
      if (at >>> 16 === 0) break;
    }
    // The bytes between, of a tunnel or an unknown extension header, are copied unread: they are the same in each segment.
    at &= 0xffff;
    if (at < end) this.#lookBack(bytes, at);
    return at <= end && (this.#partial || this.#ip !== NO_HEADER);
  }

  /** @returns where the network header begins | its ethertype << 16, which is 0 for one that is not known. */
  #walkEthernet(bytes: Uint8Array): number {
    const [start, end] = [this.#start, this.#csumStart];
    let at = 12;
    while (at + 4 <= end && TAGS.includes(be16(bytes, start + at))) at += 4;
    if (at + 10 > end) return at;
    const type = be16(bytes, start + at);
    at += 2;
    if (type === ETHERTYPE_PPPOE) {
      this.#addLength(at + 4, at + 6);
      const protocol = be16(bytes, start + at + 6);
      return typed(at + 8, protocol === PPP_IPV4 ? 4 : protocol === PPP_IPV6 ? 6 : 0);
    }
    if (type === ETHERTYPE_MPLS || type === ETHERTYPE_MPLS_MULTICAST) {
      // RFC 3032: the lowest bit of the third byte marks the last label.
      while (at + 4 < end && (bytes[start + at + 2] & 1) === 0) at += 4;
      return typed(at + 4, bytes[start + at + 4] >>> 4);
    }
    return typed(at, type === ETHERTYPE_IPV4 ? 4 : type === ETHERTYPE_IPV6 ? 6 : 0);
  }

  /**
   * Notes the lengths of an IP header and of the headers behind it, up to the next IP header.
   * @returns where the next one begins | its ethertype << 16, which is 0 if there is none; -1 for a frame that cannot be cut.
   */
  #walkIp(bytes: Uint8Array, ip: number, type: number): number {
    const [start, end] = [this.#start, this.#csumStart];
    let at = ip;
    let next: number;
    if (type === ETHERTYPE_IPV4 && isIpv4At(bytes, start, ip, end)) {
      at += (bytes[start + ip] & 0x0f) * 4;
      next = bytes[start + ip + 9];
      this.#addIpv4(ip);
    } else if (type === ETHERTYPE_IPV6 && isIpv6At(bytes, start, ip, end)) {
      at += IPV6_HEADER_BYTES;
      next = bytes[start + ip + 6];
      this.#addIpv6(ip);
      for (let bytesOf = 1; at < end && bytesOf > 0; ) {
        bytesOf = extensionOf(bytes, start + at, next, CHAIN_LEGAL);
        if (bytesOf > 0) next = bytes[start + at];
        at += bytesOf;
      }
    } else return ip;
    if (at >= end) return at;
    if (next === PROTOCOL_IPV4) return typed(at, 4);
    if (next === PROTOCOL_IPV6) return typed(at, 6);
    if (next === PROTOCOL_UDP) return this.#walkUdp(bytes, at);
    const gre = next === PROTOCOL_GRE ? be16(bytes, start + at) : 0;
    return (gre & GRE_CHECKSUM_OR_SEQUENCE) === 0 ? at : -1;
  }

  /** Notes a UDP header that carries a tunnel (VXLAN, GENEVE). @returns where its payload begins. */
  #walkUdp(bytes: Uint8Array, at: number): number {
    this.#addLength(at + 4, at);
    if (be16(bytes, this.#start + at + 6) !== 0) {
      this.#udps[this.#udpCount * 3] = at;
      this.#udps[this.#udpCount * 3 + 1] = this.#ip;
      this.#udps[this.#udpCount * 3 + 2] = this.#isIpv4 ? 1 : 0;
      this.#udpCount++;
    }
    return at + UDP_HEADER_BYTES;
  }

  /** Notes the IP header inside a tunnel: one right in front of the TCP or UDP header, not before `from`. */
  #lookBack(bytes: Uint8Array, from: number): void {
    const [start, end, length] = [this.#start, this.#csumStart, this.#length];
    const protocol = this.#csumOffset === TCP_CHECKSUM_OFFSET ? PROTOCOL_TCP : PROTOCOL_UDP;
    const ipv6 = end - IPV6_HEADER_BYTES;
    if (ipv6 >= from && isIpv6At(bytes, start, ipv6, end)) {
      const fits = be16(bytes, start + ipv6 + 4) === length - end;
      if (fits && bytes[start + ipv6 + 6] === protocol) this.#addIpv6(ipv6);
      if (fits) return;
    }
    for (let ip = end - IPV4_HEADER_BYTES; ip >= Math.max(from, end - 60); ip -= 4) {
      const isHere = isIpv4At(bytes, start, ip, end) && (bytes[start + ip] & 0x0f) * 4 === end - ip;
      if (!isHere || bytes[start + ip + 9] !== protocol) continue;
      if (be16(bytes, start + ip + 2) !== length - ip) continue;
      this.#addIpv4(ip);
      return;
    }
  }

  #addIpv4(ip: number): void {
    this.#ipv4s[this.#ipv4Count++] = ip;
    this.#addLength(ip + 2, ip);
    this.#ip = ip;
    this.#isIpv4 = true;
  }

  #addIpv6(ip: number): void {
    this.#addLength(ip + 4, ip + IPV6_HEADER_BYTES);
    this.#ip = ip;
    this.#isIpv4 = false;
  }

  #addLength(field: number, from: number): void {
    this.#lengths[2 * this.#lengthCount] = field;
    this.#lengths[2 * this.#lengthCount + 1] = from;
    this.#lengthCount++;
  }
}

/** @param version 4, 6, or another number for an unknown header. @returns `at` | its ethertype << 16. */
function typed(at: number, version: number): number {
  const type = version === 4 ? ETHERTYPE_IPV4 : version === 6 ? ETHERTYPE_IPV6 : 0;
  return (at | (type << 16)) >>> 0;
}

function isIpv4At(bytes: Uint8Array, start: number, ip: number, end: number): boolean {
  const headerBytes = (bytes[start + ip] & 0x0f) * 4;
  return bytes[start + ip] >>> 4 === 4 && headerBytes >= IPV4_HEADER_BYTES && ip + headerBytes <= end;
}

function isIpv6At(bytes: Uint8Array, start: number, ip: number, end: number): boolean {
  return bytes[start + ip] >>> 4 === 6 && ip + IPV6_HEADER_BYTES <= end;
}

function get32(bytes: Uint8Array, at: number): number {
  return be16(bytes, at) * 0x10000 + be16(bytes, at + 2);
}

function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value & 0xff;
}

function put32(bytes: Uint8Array, at: number, value: number): void {
  put16(bytes, at, value >>> 16);
  put16(bytes, at + 2, value & 0xffff);
}
