import {
  HASH_ALGORITHM_TOEPLITZ,
  HASH_TYPE_IPV4,
  HASH_TYPE_IPV4_TCP,
  HASH_TYPE_IPV6,
  HASH_TYPE_IPV6_TCP,
} from '../../protocol/control.js';
import type { HashSetUp } from './hash.js';

const ETHERNET_BYTES = 14;
const TCP = 6;

/** The hashed part of a frame: HASH_TYPE_* and the bytes. */
interface Input {
  readonly type: number;
  readonly bytes: Uint8Array;
}

/**
 * Checks the hashes that a backend sends with frames. It computes each by the definition, bit by bit, and shares no code with the backend. A
 * hash by the setup before the last one is right too, because the frame may have waited.
 */
export class HashOracle {
  /** Frames that came with a hash, and that came without one. */
  readonly counts = { hashed: 0, plain: 0 };
  readonly #setUps: HashSetUp[] = [];
  #extra: { readonly head: number; readonly value: number } | undefined;

  /** Accepts this set-up and the one before, because the backend may not have received the change yet. */
  expect(setUp: HashSetUp): void {
    this.#setUps.push(setUp);
  }

  /** Whether the guest has asked for hashes. */
  get asked(): boolean {
    return this.#setUps.length > 0;
  }

  /** Takes the HASH extra of the frame that is being assembled. */
  take(head: number, value: number): void {
    this.#extra = { head, value };
  }

  /** Call it once the frame is whole. @returns what is wrong with its hash. */
  finish(bytes: Uint8Array, start: number, length: number): string | undefined {
    const extra = this.#extra;
    this.#extra = undefined;
    if (extra === undefined) {
      this.counts.plain += 1;
      return undefined;
    }
    this.counts.hashed += 1;
    const [bit, algorithm] = [(extra.head >>> 16) & 0xff, extra.head >>> 24];
    if (algorithm !== HASH_ALGORITHM_TOEPLITZ) return `hash of algorithm ${algorithm}`;
    const type = 1 << bit;
    const input = inputsOf(bytes.subarray(start, start + length)).find((one) => one.type === type);
    if (input === undefined) return `hash of type ${bit}, which the frame does not have`;
    const asked = this.#setUps.filter((setUp) => (setUp.types & type) !== 0);
    const right = asked.some(({ key }) => toeplitz(key, input.bytes) === extra.value);
    return right ? undefined : `hash ${extra.value} of type ${bit}, which is another`;
  }
}

/** Returns the parts that can be hashed of a frame without VLAN tags, fragments and extension headers. */
function inputsOf(frame: Uint8Array): Input[] {
  const ipv4 = frame[12] === 8 && frame[13] === 0;
  if (!ipv4 && !(frame[12] === 0x86 && frame[13] === 0xdd)) return [];
  const ip = frame.subarray(ETHERNET_BYTES);
  const addresses = ipv4 ? ip.subarray(12, 20) : ip.subarray(8, 40);
  const inputs: Input[] = [{ type: ipv4 ? HASH_TYPE_IPV4 : HASH_TYPE_IPV6, bytes: addresses }];
  if (ip[ipv4 ? 9 : 6] === TCP) {
    const tcp = ipv4 ? ((ip[0] as number) & 15) * 4 : 40;
    const bytes = Uint8Array.from([...addresses, ...ip.subarray(tcp, tcp + 4)]);
    inputs.push({ type: ipv4 ? HASH_TYPE_IPV4_TCP : HASH_TYPE_IPV6_TCP, bytes });
  }
  return inputs;
}

/** netif.h: the key's window moves by a bit for each bit of the input. */
function toeplitz(key: Uint8Array, input: Uint8Array): number {
  let hash = 0;
  for (let bit = 0; bit < input.length * 8; bit++) {
    if (bitAt(input, bit) === 1) hash ^= windowAt(key, bit);
  }
  return hash >>> 0;
}

function windowAt(key: Uint8Array, from: number): number {
  let window = 0;
  for (let bit = from; bit < from + 32; bit++) window = (window << 1) | bitAt(key, bit);
  return window;
}

function bitAt(bytes: Uint8Array, bit: number): number {
  return ((bytes[bit >>> 3] ?? 0) >>> (7 - (bit & 7))) & 1;
}
