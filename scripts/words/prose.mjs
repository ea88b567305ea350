/** Which lines of a file are prose: those of a document, and the comments of a program. */
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
 * Returns what stands in a file against the list of words; empty for a file that has no prose. A comment behind code counts, and a text
 * in quotes does not, unless it looks like a comment.
 * @param {string} file its name, for its kind.
 * @param {string} text its content.
 * @returns {{ line: number, word: string, say: string }[]} lines from 1.
 */
export function findWords(file, text) {
  const ending = file.slice(file.lastIndexOf('.') + 1);
  const found = [];
  let isCode = false;
  for (const [index, line] of text.split('\n').entries()) {
    if (ending === 'md' && /^\s*```/.test(line)) isCode = !isCode;
    const prose = ending === 'md' ? (isCode ? '' : line) : commentOf(line, COMMENTS[ending]);
    // Names of files, options and code may be anything.
    for (const { not, say } of WORDS)
      for (const [word] of prose.replace(/`[^`]*`|\]\([^)]*\)/g, '').matchAll(not))
        found.push({ line: index + 1, word, say });
  }
  return found;
}

function commentOf(line, comment) {
  const [, ...groups] = comment?.exec(line) ?? [];
  return groups.find((group) => group !== undefined) ?? '';
}

/**
 * Compares what stands in the files with what may.
 * @param {ReadonlyMap<string, number>} counts by file.
 * @param {Readonly<Record<string, number>>} allowed by file; a file that is not there may have none.
 * @returns {{ more: string[], fewer: string[] }} files with more than they may have, and those whose number in the list is to be lowered.
 */
export function compare(counts, allowed) {
  const files = new Set([...counts.keys(), ...Object.keys(allowed)]);
  const difference = (file) => (counts.get(file) ?? 0) - (allowed[file] ?? 0);
  return {
    more: [...files].filter((file) => difference(file) > 0),
    fewer: [...files].filter((file) => difference(file) < 0),
  };
}
