import {
  JOURNAL_VERSION,
  type JournalKind,
  LAYOUTS,
  type Row,
  type Shape,
  type Struct,
} from '../lib/durable/layout.js';

/** A word of a journal whose value has changed since the step before. */
export interface Change {
  readonly journal: string;
  /** In words, from the beginning of the journal. */
  readonly word: number;
  /** Its names in the layout, as in `multicast.taken[0]`. */
  readonly path: string;
  readonly old: number;
  readonly now: number;
}

export interface LoggedStep {
  readonly process: number;
  readonly step: number;
  readonly what: string;
  readonly changes: readonly Change[];
}

/** Changes of one step that its label names. */
const NAMED_MAX = 2;
const NOTHING: readonly Change[] = [];

/** Records the stores of each step of a run to the journals. Frames' bytes, behind the words, are left out. */
export class StoreLog {
  readonly steps: LoggedStep[] = [];
  readonly #known = new Map<string, Uint32Array>();

  /** Compares the journals after a step. @returns the step's label. */
  look(process: number, step: number, what: string, pages: ReadonlyMap<string, Uint8Array>): string {
    let changes: Change[] | undefined;
    for (const [name, page] of pages) {
      const kind = kindOf(name);
      if (kind === undefined) continue;
      const found = this.#changesOf(name, kind, page);
      if (found.length > 0) changes = [...(changes ?? []), ...found];
    }
    this.steps.push({ process, step, what, changes: changes ?? NOTHING });
    return changes === undefined ? what : `${what}: ${labelOf(changes)}`;
  }

  #changesOf(name: string, kind: JournalKind, page: Uint8Array): readonly Change[] {
    const { words: layout } = LAYOUTS[JOURNAL_VERSION][kind];
    const length = Math.min(layout.words, page.length >>> 2);
    const words = new Uint32Array(page.buffer, page.byteOffset, length);
    const known = this.#known.get(name);
    if (known === undefined || known.length !== length) {
      this.#known.set(name, words.slice());
      return known === undefined ? changesBetween(name, layout, new Uint32Array(length), words) : NOTHING;
    }
    if (Buffer.compare(bytesOf(known), bytesOf(words)) === 0) return NOTHING;
    const changes = changesBetween(name, layout, known, words);
    known.set(words);
    return changes;
  }
}

/** @returns the kind of a journal by its name; undefined for one that has no words of these layouts. */
function kindOf(name: string): JournalKind | undefined {
  if (/^vif\d+\.\d+$/.test(name)) return 'vif';
  return /^vif\d+\.\d+\.q\d+$/.test(name) ? 'queue' : undefined;
}

function changesBetween(
  journal: string,
  layout: Struct<string>,
  known: Uint32Array,
  words: Uint32Array,
): Change[] {
  const changes: Change[] = [];
  for (let word = 0; word < words.length; word++) {
    const [old, now] = [known[word], words[word]];
    if (old !== now) changes.push({ journal, word, path: pathOf(layout, word), old, now });
  }
  return changes;
}

function labelOf(changes: readonly Change[]): string {
  const named = changes.slice(0, NAMED_MAX).map(({ journal, path, now }) => `${journal} ${path} = ${now}`);
  const more = changes.length - named.length;
  return more > 0 ? `${named.join(', ')} and ${more} more` : named.join(', ');
}

/** @returns the names of a word, each after a dot; the first dot is left out by `pathOf`. */
function dotted(shape: Shape, word: number): string {
  if (typeof shape === 'number') return shape === 1 ? '' : `[${word}]`;
  if (isRow(shape)) {
    const index = Math.floor(word / shape.each.words);
    return `[${index}]${dotted(shape.each, word - index * shape.each.words)}`;
  }
  const part = shape.parts.find(({ at, words }) => word >= at && word < at + words);
  return part === undefined ? `[${word}]` : `.${part.name}${dotted(part.shape, word - part.at)}`;
}

/** @returns the names of a word of a journal. */
export function pathOf(layout: Struct<string>, word: number): string {
  return dotted(layout, word).slice(1);
}

function isRow(shape: Exclude<Shape, number>): shape is Row {
  return 'each' in shape;
}

function bytesOf(words: Uint32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
}
