import { isDeepStrictEqual } from 'node:util';

/** Returns the names of the parts that differ: to report thousands of words that differ takes minutes. */
export function differing<Parts extends object>(one: Parts, other: Parts): string[] {
  const parts = Object.keys(one) as (keyof Parts & string)[];
  return parts.filter((part) => !isDeepStrictEqual(one[part], other[part]));
}
