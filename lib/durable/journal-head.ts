import type { DurableWords, ReadonlyWords } from './durable-words.js';
import { HEAD, JOURNAL_VERSIONS, type JournalVersion, MAGICS } from './layout.js';

const { magic: AT_MAGIC, version: AT_VERSION, names: AT_NAMES } = HEAD.at;

/** Neither 0, which is that of a new journal, nor a journal's. */
const NO_MAGIC = 0xffff_ffff;
/** As the first name: that of no domain. */
const NOBODY = 0xffff_ffff;

/** Whose a journal is, and how it is laid out. */
export interface JournalHead {
  readonly magic: number;
  readonly version: JournalVersion;
  /** Of what it belongs to, at most 14. */
  readonly names: readonly [domid: number, ...number[]];
}

/**
 * Why what stood in a journal is not used, and the journal begun anew. foreign: it is another connection's. unknown-version: another vifd
 * wrote it, in a layout that this one does not read. damaged: it is ours, and what it lists cannot be.
 */
export type Ignored = 'foreign' | 'unknown-version' | 'damaged';

/**
 * Looks whose a journal is. Another's is begun anew.
 * @param fill stores what a journal begins with; it gets what is returned.
 * @returns why what stood there is not used; undefined: it is, or nothing stood there.
 */
export function claimJournal(
  words: DurableWords,
  head: JournalHead,
  fill?: (why: Ignored | undefined) => void,
): Ignored | undefined {
  const { view } = words;
  if (isOurs(view, head)) return undefined;
  const why = whyIgnored(view, head.magic);
  beginJournal(words, head, () => fill?.(why));
  return why;
}

function isOurs(view: ReadonlyWords, { magic, version, names }: JournalHead): boolean {
  if (view[AT_MAGIC] !== magic || view[AT_VERSION] !== version) return false;
  return names.every((name, i) => view[AT_NAMES + i] === name);
}

function whyIgnored(view: ReadonlyWords, magic: number): Ignored | undefined {
  if (view[AT_MAGIC] === magic) return isKnown(view[AT_VERSION]) ? 'foreign' : 'unknown-version';
  // Without a magic it is new, or a kill ended its beginning.
  return view[AT_MAGIC] === 0 ? undefined : 'damaged';
}

function isKnown(version: number): boolean {
  return (JOURNAL_VERSIONS as readonly number[]).includes(version);
}

/** @returns the version of a journal of this kind; undefined where none stands. */
export function versionIn(view: ReadonlyWords, magic: number): number | undefined {
  return view[AT_MAGIC] === magic ? view[AT_VERSION] : undefined;
}

/**
 * What a journal begins with that is made in the place of one that cannot be used, so that whoever reads it begins it anew and reports why:
 * the magic and the version of another vifd, whose layout this one does not read, or else no journal's magic.
 * @param view the first two words of what cannot be used.
 */
export function headOfUnusable(view: ReadonlyWords): Uint32Array {
  const isOfOther = Object.values(MAGICS).includes(view[AT_MAGIC]) && !isKnown(view[AT_VERSION]);
  return Uint32Array.of(isOfOther ? view[AT_MAGIC] : NO_MAGIC, isOfOther ? view[AT_VERSION] : 0);
}

/** Changes the version of a journal whose layout is the same in both. */
export function setVersion(words: DurableWords, version: JournalVersion): void {
  words.commit(AT_VERSION, version);
}

/**
 * Begins a journal anew. The magic is taken away first and given last: a kill in between leaves memory that is nobody's. Another's keeps its
 * magic, and has no domain's name meanwhile: for the next process it is another's still.
 * @param fill stores what it is to begin with.
 */
export function beginJournal(
  words: DurableWords,
  { magic, version, names }: JournalHead,
  fill?: () => void,
): void {
  const isAnothers = whyIgnored(words.view, magic) === 'foreign';
  if (isAnothers) words.commit(AT_NAMES, NOBODY);
  else words.commit(AT_MAGIC, 0);
  words.clear(AT_NAMES + 1);
  words.store(AT_VERSION, version);
  words.copy(AT_NAMES + 1, names.slice(1), names.length - 1);
  fill?.();
  words.commit(AT_NAMES, names[0]);
  if (!isAnothers) words.commit(AT_MAGIC, magic);
}
