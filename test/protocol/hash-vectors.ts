/**
 * Microsoft's "Verifying the RSS Hash Calculation": a key, flows, and the hash of each over its addresses and over its
 * addresses and ports.
 */
export const RSS_KEY = Uint8Array.from(
  Buffer.from('6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa', 'hex'),
);

export interface HashVector {
  readonly source: readonly number[];
  readonly destination: readonly number[];
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly ofAddresses: number;
  readonly ofPorts: number;
}

function v4(
  destination: string,
  destinationPort: number,
  source: string,
  sourcePort: number,
  ofAddresses: number,
  ofPorts: number,
): HashVector {
  const [from, to] = [source, destination].map((text) => text.split('.').map(Number));
  return { source: from!, destination: to!, sourcePort, destinationPort, ofAddresses, ofPorts };
}

function v6(
  destination: string,
  destinationPort: number,
  source: string,
  sourcePort: number,
  ofAddresses: number,
  ofPorts: number,
): HashVector {
  const [from, to] = [source, destination].map(bytesOfIpv6);
  return { source: from!, destination: to!, sourcePort, destinationPort, ofAddresses, ofPorts };
}

function bytesOfIpv6(text: string): number[] {
  const [head, tail] = text.split('::').map((part) => part.split(':').filter((group) => group !== ''));
  const zeros = Array<string>(8 - head!.length - (tail?.length ?? 0)).fill('0');
  return [...head!, ...zeros, ...(tail ?? [])]
    .map((group) => Number.parseInt(group, 16))
    .flatMap((group) => [group >>> 8, group & 0xff]);
}

export const IPV4_VECTORS: readonly HashVector[] = [
  v4('161.142.100.80', 1766, '66.9.149.187', 2794, 0x323e8fc2, 0x51ccc178),
  v4('65.69.140.83', 4739, '199.92.111.2', 14230, 0xd718262a, 0xc626b0ea),
  v4('12.22.207.184', 38024, '24.19.198.95', 12898, 0xd2d0a5de, 0x5c2b394a),
  v4('209.142.163.6', 2217, '38.27.205.30', 48228, 0x82989176, 0xafc7327f),
  v4('202.188.127.2', 1303, '153.39.163.191', 44251, 0x5d1809c5, 0x10e828a2),
];

export const IPV6_VECTORS: readonly HashVector[] = [
  v6('3ffe:2501:200:3::1', 1766, '3ffe:2501:200:1fff::7', 2794, 0x2cc18cd5, 0x40207d3d),
  v6('ff02::1', 4739, '3ffe:501:8::260:97ff:fe40:efab', 14230, 0x0f0c461c, 0xdde51bbf),
  v6('fe80::200:f8ff:fe21:67cf', 38024, '3ffe:1900:4545:3:200:f8ff:fe21:67cf', 44251, 0x4b61e985, 0x02d1feef),
];

export interface FrameShape {
  /** 6: TCP. */
  readonly protocol?: number;
  /** VLAN tags. */
  readonly tags?: number;
  /** IPv4: words of options. */
  readonly optionWords?: number;
  /** IPv4: flags and fragment offset. */
  readonly fragment?: number;
  /** IPv6: extension headers before the transport header. */
  readonly extensions?: ReadonlyArray<readonly [type: number, words: number]>;
}

/** An Ethernet frame of a vector's flow, with 20 bytes behind its IP header. */
export function frameOf(vector: HashVector, shape: FrameShape = {}): Uint8Array {
  const { source, destination, sourcePort, destinationPort } = vector;
  const isIpv4 = source.length === 4;
  const ethernet = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
  for (let tag = 0; tag < (shape.tags ?? 0); tag++) ethernet.push(0x81, 0, 0, 5);
  ethernet.push(...(isIpv4 ? [8, 0] : [0x86, 0xdd]));
  const ports = [sourcePort >>> 8, sourcePort & 255, destinationPort >>> 8, destinationPort & 255];
  const tcp = [...ports, ...Array<number>(16).fill(0)];
  tcp[12] = 0x50;
  const ip = isIpv4 ? ipv4Header(shape) : ipv6Header(shape);
  ip.splice(isIpv4 ? 12 : 8, source.length * 2, ...source, ...destination);
  return Uint8Array.from([...ethernet, ...ip, ...tcp]);
}

function ipv4Header({ protocol = 6, optionWords = 0, fragment = 0 }: FrameShape): number[] {
  const header = Array<number>(20 + optionWords * 4).fill(0);
  header[0] = 0x45 + optionWords;
  header[6] = fragment >>> 8;
  header[7] = fragment & 255;
  header[9] = protocol;
  return header;
}

function ipv6Header({ protocol = 6, extensions = [] }: FrameShape): number[] {
  const header = Array<number>(40).fill(0);
  header[0] = 0x60;
  const types = [...extensions.map(([type]) => type), protocol];
  header[6] = types[0]!;
  for (const [i, [, words]] of extensions.entries()) {
    header.push(types[i + 1]!, words, ...Array<number>(6 + words * 8).fill(0));
  }
  return header;
}
