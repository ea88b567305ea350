import { converted } from './conversion.js';
import { DurableWords } from './durable-words.js';
import type { JournalPages, Journals } from './journal.js';
import { headOfUnusable, setVersion, versionIn } from './journal-head.js';
import { HEAD, type JournalKind, type JournalVersion, journalSizes, layoutOf, MAGICS } from './layout.js';

export interface OpenedJournal {
  readonly pages: JournalPages;
  /** The version of the journal: the requested one, or the old one if the conversion failed. */
  readonly version: JournalVersion;
  /** Why the conversion failed; the journal is then used in its old version. */
  readonly unconverted: unknown;
  /** The version that was found, if this vifd does not read it. */
  readonly unknownVersion: number | undefined;
}

/**
 * Opens a journal in the requested version, and converts a journal that another vifd left in another version that this vifd reads. A kill at
 * any instant leaves the journal in the old version or in the new one.
 * @throws VifdError ERR_JOURNAL; the journal is unchanged.
 */
export function openJournal(
  journals: Journals,
  {
    name,
    kind,
    version,
    afterStore,
  }: {
    readonly name: string;
    readonly kind: JournalKind;
    readonly version: JournalVersion;
    /** Runs after each store; a simulation kills the process there. */
    readonly afterStore?: (() => void) | undefined;
  },
): OpenedJournal {
  const wanted = layoutOf(kind, version);
  if (wanted === undefined) throw new RangeError(`version ${version} has no journal of ${kind}`);
  const pages = journals.open(name, wanted.bytes, journalSizes(kind));
  const { bytes } = pages;
  const head = new DurableWords(new Uint32Array(bytes.buffer, bytes.byteOffset, HEAD.words), afterStore);
  const found = versionIn(head.view, MAGICS[kind]);
  const layout = found === undefined ? undefined : layoutOf(kind, found);
  const isWhole = layout?.bytes === bytes.length;
  const opened = { pages, version, unconverted: undefined, unknownVersion: undefined };
  if (isWhole && found === version) return opened;
  if (isWhole && layout === wanted) {
    setVersion(head, version);
    return opened;
  }
  const unknownVersion = layout === undefined ? found : undefined;
  if (!isWhole && bytes.length === wanted.bytes) return { ...opened, unknownVersion };
  const content = isWhole ? converted(bytes, layout, wanted, version) : new Uint8Array(wanted.bytes);
  if (!isWhole) new Uint32Array(content.buffer).set(headOfUnusable(head.view));
  try {
    journals.replace(name, content);
  } catch (error) {
    if (isWhole) return { ...opened, version: found as JournalVersion, unconverted: error };
    pages.close();
    throw error;
  }
  pages.close();
  return { ...opened, pages: journals.open(name, wanted.bytes), unknownVersion };
}

/**
 * Converts a journal whose conversion failed when it was opened. `pages` still belong to the old journal; the next `openJournal` opens the
 * new one.
 * @throws VifdError ERR_JOURNAL; the journal is unchanged.
 */
export function convertJournal(
  journals: Journals,
  { pages, version: found }: OpenedJournal,
  {
    name,
    kind,
    version,
  }: { readonly name: string; readonly kind: JournalKind; readonly version: JournalVersion },
): void {
  const [from, to] = [layoutOf(kind, found), layoutOf(kind, version)];
  if (from !== undefined && to !== undefined && from !== to)
    journals.replace(name, converted(pages.bytes, from, to, version));
}
