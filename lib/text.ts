/** Makes text that a guest, a toolstack or a program wrote fit for a line that people read. This file imports nothing. */

/** How much of a foreign text one message shows. The store takes values of 4 KiB. */
const QUOTED_MAX = 64;

/** All that is neither a letter, a mark, a digit, punctuation, a symbol nor the plain space: controls, ESC, C1, bidi, separators. */
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu;
/** Most texts match, and need no search in the table of Unicode. */
const ASCII = /^[ -~]*$/;

const SHORT: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/**
 * Returns the text with each unprintable character escaped as in JSON. Characters beyond U+FFFF become two escapes. The result is one line,
 * whatever the text was.
 */
export function printable(text: string): string {
  return ASCII.test(text) ? text : text.replace(UNPRINTABLE, escaped);
}

/** Returns the value as one line of JSON whose escapes a terminal does not act upon: the same value for each parser. */
export function jsonLine(value: unknown): string {
  const text = JSON.stringify(value);
  // JSON.stringify leaves DEL, C1 and bidi controls as they are.
  return ASCII.test(text) ? text : text.replace(UNPRINTABLE, codeUnits);
}

/**
 * Returns the text in single quotes with quotes, backslashes and unprintable characters escaped, cut to `max` characters
 * of what is shown: '…' and the text's length then follow.
 */
export function quoted(text: string, max = QUOTED_MAX): string {
  let shown = '';
  for (const character of text) {
    const more = character === "'" || character === '\\' ? `\\${character}` : printable(character);
    if (shown.length + more.length > max) return `'${shown}'… (${text.length} characters)`;
    shown += more;
  }
  return `'${shown}'`;
}

/** Returns a text that is a plain name as it is, and any other text as `quoted` does. */
export function shown(text: string, max = QUOTED_MAX): string {
  return text.length <= max && /^[\w.:@+-]+$/.test(text) ? text : quoted(text, max);
}

function escaped(character: string): string {
  return SHORT[character] ?? codeUnits(character);
}

function codeUnits(character: string): string {
  let escapes = '';
  for (let i = 0; i < character.length; i++)
    escapes += `\\u${character.charCodeAt(i).toString(16).padStart(4, '0')}`;
  return escapes;
}
