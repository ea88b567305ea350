import { firstDifference } from '../marks.js';
import type { Difference } from './tally.js';

/** How many bytes are printed before and behind the first difference of a long frame. */
const AROUND = 96;
const SHORT = 256;

/** @returns one difference as text, with the command that shows it again. @param mark highlights the first byte that differs. */
export function describe(difference: Difference, seed: number, mark: (text: string) => string): string {
  const { where, name, pieces, what, expected, got } = difference;
  const place =
    where === 'references' ? 'references' : `${where.direction} | ${where.how} | ${where.through}`;
  const at = expected === undefined || got === undefined ? -1 : firstDifference(expected, got);
  const apart =
    at < 0 && expected !== undefined && got !== undefined ? Math.min(expected.length, got.length) : at;
  return [
    `${place} | ${name}`,
    `  ${what}`,
    ...(pieces === undefined ? [] : [`  slots of ${pieces.join(', ')} bytes`]),
    ...(expected === undefined ? [] : [`  expected ${bytesOf(expected, apart, mark)}`]),
    ...(got === undefined ? [] : [`  got      ${bytesOf(got, apart, mark)}`]),
    `  again: npm run frames -- --seed ${seed} --only ${JSON.stringify(formOf(name))}`,
  ].join('\n');
}

/** @param apart offset of the first difference; -1: there is none. */
function bytesOf(bytes: Uint8Array, apart: number, mark: (text: string) => string): string {
  const begin = bytes.length <= SHORT || apart < AROUND ? 0 : apart - AROUND;
  const end = bytes.length <= SHORT ? bytes.length : Math.min(bytes.length, Math.max(apart, 0) + AROUND);
  let text = begin === 0 ? '' : `(${begin} bytes) `;
  for (let at = begin; at < end; at++) {
    const byte = bytes[at].toString(16).padStart(2, '0');
    text += at === apart ? mark(`[${byte}]`) : byte;
  }
  const rest = bytes.length - end;
  return `${text}${apart === bytes.length ? mark('[end]') : ''}${rest > 0 ? ` (${rest} more)` : ''}, ${bytes.length} bytes`;
}

/** @returns the name of a variant's form. */
function formOf(name: string): string {
  return name.split(' | ').slice(0, 3).join(' | ');
}
