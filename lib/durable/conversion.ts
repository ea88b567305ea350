import { HEAD, type JournalLayout, type JournalVersion, type Shape } from './layout.js';

/** One word, or several words that are copied together. */
interface Leaf {
  readonly at: number;
  readonly words: number;
}

/**
 * Returns the content of a journal in another layout. Words that both layouts name are copied. Words that only the new layout names are 0,
 * which means "not known". Words that only the old layout names are dropped.
 * @throws RangeError when both layouts name a word and disagree about its size.
 */
export function converted(
  content: Uint8Array,
  from: JournalLayout,
  to: JournalLayout,
  version: JournalVersion,
): Uint8Array {
  const result = new Uint8Array(to.bytes);
  const [source, target] = [wordsIn(content), wordsIn(result)];
  const known = leavesOf(from.words);
  for (const [path, { at, words }] of leavesOf(to.words)) {
    const old = known.get(path);
    if (old === undefined) continue;
    if (old.words !== words)
      throw new RangeError(`${path} has ${old.words} words in one layout and ${words} in the other`);
    target.set(source.subarray(old.at, old.at + words), at);
  }
  for (const [name, { at, bytes }] of Object.entries(to.arenas)) {
    const old = from.arenas[name];
    if (old === undefined) continue;
    // A frame names its place in the arena. A place beyond the end of a smaller arena makes the journal a damaged one.
    result.set(content.subarray(old.at, old.at + Math.min(bytes, old.bytes)), at);
  }
  target[HEAD.at.version] = version;
  return result;
}

function wordsIn(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
}

/**
 * Returns the leaves of a layout by path, such as `head.version`. A structure or a row is taken apart; several words under one name are
 * not.
 */
function leavesOf(shape: Shape, at = 0, path = '', leaves = new Map<string, Leaf>()): Map<string, Leaf> {
  if (typeof shape === 'number') leaves.set(path, { at, words: shape });
  else if ('each' in shape) {
    for (let i = 0; i < shape.count; i++)
      leavesOf(shape.each, at + i * shape.each.words, `${path}[${i}]`, leaves);
  } else {
    for (const part of shape.parts)
      leavesOf(part.shape, at + part.at, path === '' ? part.name : `${path}.${part.name}`, leaves);
  }
  return leaves;
}
