/** Finds the prose of a file: the lines of a document, and the comments of a program. */
import { WORDS } from './list.mjs';

const SLASHES = /(?:^|\s)\/\/(.*)$|^\s*\/\*+(.*)$|^\s*\*(?!\/)(.*)$/;
const HASH = /(?:^|\s)#(?!!)(.*)$/;
const COMMENTS = {
  ts: SLASHES,
  cts: SLASHES,
  mjs: SLASHES,
  cjs: SLASHES,
  cc: SLASHES,
  h: SLASHES,
  c: SLASHES,
  sh: HASH,
  py: HASH,
};

/**
 * Returns the words of the list in a file's prose; empty for a file without prose. A comment behind code counts. A text in quotes does not,
 * unless it looks like a comment.
 * @param {string} file its name, which determines its kind.
 * @param {string} text its content.
 * @returns {{ line: number, word: string, say: string }[]} lines from 1.
 */
export function findWords(file, text) {
  const found = [];
  // Names of files, options and code do not count.
  for (const { line, prose } of proseOf(file, text))
    for (const { not, say } of WORDS)
      for (const [word] of prose.replace(/`[^`]*`|\]\([^)]*\)/g, '').matchAll(not))
        found.push({ line, word, say });
  return found;
}

/**
 * Returns the prose of each line that has some.
 * @param {string} file its name, which determines its kind.
 * @param {string} text its content.
 * @returns {{ line: number, prose: string, behindCode: boolean }[]} lines from 1.
 */
export function proseOf(file, text) {
  const ending = file.slice(file.lastIndexOf('.') + 1);
  let isCode = false;
  return text.split('\n').flatMap((whole, index) => {
    if (ending === 'md' && /^\s*```/.test(whole)) isCode = !isCode;
    const prose = ending === 'md' ? (isCode ? '' : whole) : commentOf(whole, COMMENTS[ending]);
    const behindCode = ending !== 'md' && !/^\s*(?:\/\/|\/?\*|#)/.test(whole);
    return prose.trim() === '' ? [] : [{ line: index + 1, prose, behindCode }];
  });
}

function commentOf(line, comment) {
  const [, ...groups] = comment?.exec(line) ?? [];
  return groups.find((group) => group !== undefined) ?? '';
}

/**
 * Compares the number of words in each file with the permitted number.
 * @param {ReadonlyMap<string, number>} counts by file.
 * @param {Readonly<Record<string, number>>} allowed by file; 0 for a file that it does not have.
 * @returns {{ more: string[], fewer: string[] }} files with more words than permitted, and files whose permitted number must be lowered.
 */
export function compare(counts, allowed) {
  const files = new Set([...counts.keys(), ...Object.keys(allowed)]);
  const difference = (file) => (counts.get(file) ?? 0) - (allowed[file] ?? 0);
  return {
    more: [...files].filter((file) => difference(file) > 0),
    fewer: [...files].filter((file) => difference(file) < 0),
  };
}
