import { Random, seedOf } from '../random.js';
import type { Built, Scapy } from '../references/scapy.js';
import { type Direction, type Form, FROM_GUEST, layersOf, nameOf, openLayer } from './forms.js';
import type { Layer } from './headers.js';

/** One frame of a form, with all drawn values. */
export interface Variant {
  readonly form: Form;
  readonly direction: Direction;
  /** Its name in a report: the form and the drawn values. */
  readonly name: string;
  readonly seed: number;
  /** The frame as its sender passes it on. */
  readonly frame: Uint8Array;
  /** The same frame with its checksum open, for the kernel to complete and segment. */
  readonly open: Uint8Array;
  /** Bytes of all headers. */
  readonly headerBytes: number;
  /** Where the open checksum is; 0 and 0 in a plain frame. */
  readonly start: number;
  readonly offset: number;
  /** Payload of a segment; 0: no segmentation. */
  readonly segment: number;
  /** Whether the guest leaves the checksum open; false: its GSO frame has a complete one. */
  readonly blank: boolean;
  /** The expected results, as scapy builds them. */
  readonly expected: readonly Uint8Array[];
}

/** How large the frames of a form are. Of `small` ones every cut of the headers is tried. */
export type Size = 'small' | 'middle' | 'large';

const IP_BYTES_MAX = 65535;
/** TCP flags (RFC 9293, RFC 3168): ACK alone and with PSH, FIN and CWR, which segmentation distributes. */
const TCP_FLAGS = [0x10, 0x18, 0x19, 0x98];
const SMALL_PAYLOADS = [0, 1, 2, 7, 18, 33, 64];
const MIDDLE_PAYLOADS = [999, 1400, 1447, 1448, 1449, 4041, 4096, 8191, 8960];
const SMALL_SEGMENTS = [64, 100, 333, 536];
const LARGE_SEGMENTS = [1448, 4000, 8961, 16001];

export async function drawVariant(
  scapy: Scapy,
  form: Form,
  direction: Direction,
  size: Size,
  seed: number,
): Promise<Variant> {
  const own = seedOf(seed, `${direction} | ${nameOf(form)} | ${size}`);
  const random = new Random(own);
  const { protocol } = form;
  const args: Record<string, number> =
    protocol.transport === 'tcp'
      ? { bytes: random.below(11) * 4, flags: random.of(TCP_FLAGS), seq: random.of([1, 0xffffff00]) }
      : {};
  const layers = withIds(layersOf(form, args), random).map((layer) => outer(layer, form, direction));
  const headerBytes = layers.reduce((sum, layer) => sum + bytesOfLayer(layer), 0);
  // IEEE 802.3: IP's length counts neither the Ethernet header nor the tags.
  const room = IP_BYTES_MAX - headerBytes;
  const { segment, payload } = protocol.gso === 0 ? drawSize(size, random) : drawSegments(size, random, room);
  const built = await scapy.build({
    layers,
    payload: drawPayload(Math.min(payload, room), random),
    open: protocol.open ? openLayer(layers, direction) : undefined,
    segment: protocol.transport === 'tcp' && protocol.broken === undefined ? segment : 0,
  });
  // A guest that segments may have completed the checksum itself.
  const blank = protocol.open && !(direction === FROM_GUEST && protocol.gso !== 0 && random.below(4) === 0);
  const frame = broken(form, blank ? built.open : built.complete, built, random);
  const drawn = `${frame.length} bytes${segment > 0 ? `, segments of ${segment}` : ''}`;
  return {
    form,
    direction,
    name: `${nameOf(form)} | ${drawn}`,
    seed: own,
    frame,
    open: built.open,
    headerBytes,
    start: built.start,
    offset: built.offset,
    segment: protocol.gso === 0 ? 0 : segment,
    blank,
    expected: built.segments.length > 0 ? built.segments : [built.complete],
  };
}

function drawSize(size: Size, random: Random): { segment: number; payload: number } {
  const payload = { small: () => random.of(SMALL_PAYLOADS), middle: () => random.of(MIDDLE_PAYLOADS) };
  return { segment: 0, payload: size === 'large' ? IP_BYTES_MAX : payload[size]() };
}

/** Draws the payload's length: a multiple of the segment's, or one byte more or less; 0, or up to 64 KiB. */
function drawSegments(size: Size, random: Random, room: number): { segment: number; payload: number } {
  const segment = random.of(size === 'large' ? LARGE_SEGMENTS : SMALL_SEGMENTS);
  if (size === 'large') return { segment, payload: random.of([room, room - 1, room - 777]) };
  if (size === 'small' && random.below(12) === 0) return { segment, payload: random.below(2) };
  const whole = size === 'small' ? random.between(1, 3) : random.between(4, 9);
  return { segment, payload: whole * segment + random.between(-1, 1) };
}

/** Identifications that wrap, traffic classes and flow labels. */
function withIds(layers: readonly Layer[], random: Random): Layer[] {
  return layers.map(([name, args]): Layer => {
    if (name === 'ip4') return [name, { ...args, id: random.of([0, 7, 0xffff, 0x1234]) }];
    if (name === 'ip6') return [name, { ...args, tc: random.below(256), flow: random.below(1 << 20) }];
    return [name, args];
  });
}

/** A guest's csum_blank means the outermost checksum, so that one is present in a frame with an open checksum. */
function outer([name, args]: Layer, { protocol }: Form, direction: Direction): Layer {
  return [name, direction === FROM_GUEST && protocol.open ? { ...args, none: 0 } : args];
}

function drawPayload(bytes: number, random: Random): Uint8Array {
  const step = random.between(1, 255);
  return new Uint8Array(bytes).map((_, i) => (i * step + (i >>> 8)) & 0xff);
}

const FIXED_BYTES: Readonly<Record<string, number>> = {
  eth: 14,
  q: 4,
  ad: 4,
  ip4: 20,
  ip6: 40,
  frag: 8,
  tcp: 20,
  udp: 8,
  vxlan: 8,
  geneve: 8,
  gre: 4,
};

function bytesOfLayer([name, args]: Layer): number {
  return (FIXED_BYTES[name] ?? 0) + (args.bytes ?? 0);
}

/** Makes the frame contradict its offload in the way that its form names. */
function broken(form: Form, frame: Uint8Array, { start, offset }: Built, random: Random): Uint8Array {
  const bytes = frame.slice();
  if (form.protocol.broken === 'length') {
    // The checksum's field ends beyond the frame.
    return bytes.subarray(0, start + random.between(Math.max(0, offset - 8), offset + 1));
  }
  if (form.protocol.broken !== 'data offset') return bytes;
  // Less than a TCP header, or more than the frame has.
  const isLong = bytes.length < start + 60 && random.below(2) === 0;
  bytes[start + 12] = (isLong ? 15 : random.below(5)) << 4;
  return bytes;
}
