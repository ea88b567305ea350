import { HEAD, type JournalLayout, type JournalVersion, type Shape } from './layout.js';

/** One word or several that are moved together, by the names that lead to it. */
interface Leaf {
  readonly at: number;
  readonly words: number;
}

/**
 * The content of a journal in another layout. What both layouts name is copied; what the new one alone names is 0, which says that it is not
 * known; what the old one alone names is left out.
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
    // Frames name places in their arena. Those that lie beyond a smaller one make the journal a damaged one.
    result.set(content.subarray(old.at, old.at + Math.min(bytes, old.bytes)), at);
  }
  target[HEAD.at.version] = version;
  return result;
}

function wordsIn(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
}

/** Structures are taken apart, rows are not. */
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
