/**
 * The Toeplitz hash (netif.h, "Hash algorithms"; Microsoft's RSS): for each bit of the input that is set, the 32 bits of
 * the key that begin at that bit are added without carry. Four bits are looked up at a time.
 */

/** Longest key that is of use: the longest input and the window of 32 bits behind its last bit. */
export const HASH_KEY_BYTES = 40;
/** Two IPv6 addresses and two ports. */
export const HASH_INPUT_BYTES = 36;

const NIBBLE_VALUES = 16;
const BYTE_WORDS = 2 * NIBBLE_VALUES;
/** Words of a table: 4.5 KiB, and IPv4 uses the first third of it. */
export const TOEPLITZ_WORDS = HASH_INPUT_BYTES * BYTE_WORDS;

/**
 * Fills a table for a key.
 * @param key HASH_KEY_BYTES of them; a shorter key ends with zeros.
 */
export function fillToeplitz(key: Uint8Array, table: Uint32Array): void {
  for (let nibble = 0; nibble < HASH_INPUT_BYTES * 2; nibble++) {
    for (let value = 0; value < NIBBLE_VALUES; value++) {
      let sum = 0;
      // The highest bit of the input is the first.
      for (let bit = 0; bit < 4; bit++) {
        if ((value & (8 >>> bit)) !== 0) sum ^= windowAt(key, nibble * 4 + bit);
      }
      table[nibble * NIBBLE_VALUES + value] = sum;
    }
  }
}

/** @returns the 32 bits of the key from `bit` on. */
function windowAt(key: Uint8Array, bit: number): number {
  const [byte, shift] = [bit >>> 3, bit & 7];
  const first = (key[byte] << 24) | (key[byte + 1] << 16) | (key[byte + 2] << 8) | key[byte + 3];
  return shift === 0 ? first : (first << shift) | (key[byte + 4] >>> (8 - shift));
}

/**
 * Adds `count` bytes of input, which begin at offset `place` of the whole input, to a hash (0 to begin with).
 * @returns the hash as an int32: `>>> 0` makes it the number on the wire.
 */
export function addToeplitz(
  table: Uint32Array,
  hash: number,
  bytes: Uint8Array,
  from: number,
  count: number,
  place: number,
): number {
  let sum = hash;
  let at = place * BYTE_WORDS;
  for (let i = from; i < from + count; i++) {
    const byte = bytes[i];
    sum ^= table[at + (byte >>> 4)] ^ table[at + NIBBLE_VALUES + (byte & 15)];
    at += BYTE_WORDS;
  }
  return sum;
}
