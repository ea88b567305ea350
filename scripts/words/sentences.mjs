/** Finds long sentences, as a hint: a reader must remember all of a sentence, and two short ones are often clearer. */
import { proseOf } from './prose.mjs';

export const WORDS_MAX = 45;

/** Begins a text of its own: a list's item, a table's row, a heading, a quotation, indented code, a tag of JSDoc. */
const BEGINS = /^(?:\s*(?:[-*|#>@]|\d+\. )|\s{4})/;
/** A full stop or its like, perhaps with quotes or parentheses behind it; not that of `e.g.` or `i.e.` */
const ENDS = /(?<!\b[ei]\.[ge])[.!?][)"'*`’”]*$/;

/**
 * Returns the sentences with more than WORDS_MAX words in a file's prose. Text in backquotes counts as a word.
 * @param {string} file its name, which determines its kind.
 * @param {string} text its content.
 * @returns {{ line: number, words: number, text: string }[]} by the line of the first word, from 1.
 */
export function findLongSentences(file, text) {
  return sentencesOf(proseOf(file, text))
    .filter(({ words }) => words.length > WORDS_MAX)
    .map(({ line, words }) => ({ line, words: words.length, text: words.join(' ') }));
}

function sentencesOf(lines) {
  const sentences = [];
  let sentence;
  let last = 0;
  for (const { line, prose, behindCode } of lines) {
    if (line !== last + 1 || behindCode || BEGINS.test(prose)) sentence = undefined;
    last = line;
    const plain = prose.replace(/\]\([^)]*\)/g, '').replace(/`[^`]*`/g, (code) => code.replace(/\s/g, '_'));
    for (const word of plain.split(/\s+/)) {
      // A cell of a table.
      if (word === '|') sentence = undefined;
      if (!/\w/.test(word)) continue;
      if (sentence === undefined) {
        sentence = { line, words: [] };
        sentences.push(sentence);
      }
      sentence.words.push(word);
      if (ENDS.test(word)) sentence = undefined;
    }
  }
  return sentences;
}
