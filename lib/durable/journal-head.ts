import type { DurableWords, ReadonlyWords } from './durable-words.js';
import { HEAD, JOURNAL_VERSIONS, type JournalVersion, MAGICS } from './layout.js';

const { magic: AT_MAGIC, version: AT_VERSION, names: AT_NAMES } = HEAD.at;

/** A magic that belongs to no journal; 0 is the magic of a new, empty journal. */
const NO_MAGIC = 0xffff_ffff;
/** As the first name: that of no domain. */
const NOBODY = 0xffff_ffff;

/** What a journal belongs to, and in which layout it is. */
export interface JournalHead {
  readonly magic: number;
  readonly version: JournalVersion;
  /** Numbers that identify what the journal belongs to (domid, device, ring references, ...); at most 14. */
  readonly names: readonly [domid: number, ...number[]];
}

/**
 * Why vifd ignores the content of a journal and starts an empty one. foreign: the journal belongs to another connection. unknown-version:
 * another vifd wrote it in a layout that this vifd does not read. damaged: it belongs to this connection, and its content is impossible.
 */
export type Ignored = 'foreign' | 'unknown-version' | 'damaged';

/**
 * Checks what a journal belongs to, and starts it anew unless the head is the one given.
 * @param fill stores what a new journal begins with; it gets what is returned.
 * @returns why the content is ignored; undefined if it is used, or if there was none.
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

/** Whether a journal has this head: it is of the same connection, in the same version. */
export function isOurs(view: ReadonlyWords, { magic, version, names }: JournalHead): boolean {
  if (view[AT_MAGIC] !== magic || view[AT_VERSION] !== version) return false;
  return names.every((name, i) => view[AT_NAMES + i] === name);
}

function whyIgnored(view: ReadonlyWords, magic: number): Ignored | undefined {
  if (view[AT_MAGIC] === magic) return isKnown(view[AT_VERSION]) ? 'foreign' : 'unknown-version';
  // A journal without a magic is new, or a kill interrupted `beginJournal`.
  return view[AT_MAGIC] === 0 ? undefined : 'damaged';
}

function isKnown(version: number): boolean {
  return (JOURNAL_VERSIONS as readonly number[]).includes(version);
}

/** @returns the version of the journal if its magic is this one, else undefined. */
export function versionIn(view: ReadonlyWords, magic: number): number | undefined {
  return view[AT_MAGIC] === magic ? view[AT_VERSION] : undefined;
}

/**
 * Returns the first two words for a journal that replaces an unusable one, so that `claimJournal` starts it anew and returns the reason:
 * the magic and version of the unusable one if this vifd does not read that version, else a magic that belongs to no journal.
 * @param view the first two words of the unusable journal.
 */
export function headOfUnusable(view: ReadonlyWords): Uint32Array {
  const isOfOther = Object.values(MAGICS).includes(view[AT_MAGIC]) && !isKnown(view[AT_VERSION]);
  return Uint32Array.of(isOfOther ? view[AT_MAGIC] : NO_MAGIC, isOfOther ? view[AT_VERSION] : 0);
}

/** Changes the version of a journal. Both versions must have the same layout. */
export function setVersion(words: DurableWords, version: JournalVersion): void {
  words.commit(AT_VERSION, version);
}

/**
 * Starts a journal anew. It clears the magic first and writes it last: a kill in between leaves a journal that belongs to nothing. The journal
 * of another connection keeps its magic, and names no domain meanwhile: the next process finds the journal of another connection, too.
 * @param fill stores what the journal begins with.
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
