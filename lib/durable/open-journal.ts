import { converted } from './conversion.js';
import { DurableWords } from './durable-words.js';
import type { JournalPages, Journals } from './journal.js';
import { setVersion, versionIn } from './journal-head.js';
import {
  HEAD,
  type JournalKind,
  type JournalVersion,
  journalSizes,
  LAYOUTS,
  layoutOf,
  MAGICS,
} from './layout.js';

export interface OpenedJournal {
  /** In the version that was asked for, or of nothing that can be read. */
  readonly pages: JournalPages;
  /** The version that stood there, where this vifd does not read it. */
  readonly unknownVersion: number | undefined;
}

/**
 * Opens a journal in one version. One that another vifd left in a version that this one reads is converted. A kill at any instant leaves the
 * journal in the one version or in the other.
 * @throws VifdError ERR_JOURNAL; the journal is as it was.
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
    /** Runs after each store: where a simulation kills. */
    readonly afterStore?: (() => void) | undefined;
  },
): OpenedJournal {
  const wanted = LAYOUTS[version][kind];
  const pages = journals.open(name, wanted.bytes, journalSizes(kind));
  const { bytes } = pages;
  const head = new DurableWords(new Uint32Array(bytes.buffer, bytes.byteOffset, HEAD.words), afterStore);
  const found = versionIn(head.view, MAGICS[kind]);
  if (found === version) return { pages, unknownVersion: undefined };
  const layout = found === undefined ? undefined : layoutOf(kind, found);
  const isWhole = layout?.bytes === bytes.length;
  if (isWhole && layout === wanted) {
    setVersion(head, version);
    return { pages, unknownVersion: undefined };
  }
  const unknownVersion = layout === undefined ? found : undefined;
  if (!isWhole && bytes.length === wanted.bytes) return { pages, unknownVersion };
  const content = isWhole ? converted(bytes, layout, wanted, version) : new Uint8Array(wanted.bytes);
  pages.close();
  journals.replace(name, content);
  return { pages: journals.open(name, wanted.bytes), unknownVersion };
}
