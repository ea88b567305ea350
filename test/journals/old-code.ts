import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { JournalPages, Journals } from '../../lib/durable/journal.js';
import type { PayloadMode } from '../../lib/netback/settings.js';
import type { AttachedHow } from '../../lib/netback/vif/vif-parts.js';
import type { Port } from '../../lib/ports/port.js';
import type { Xen } from '../../lib/xen/seam.js';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** `Journals` as 7952fb1 had it: `open` returns the bytes themselves. */
type OldJournals = Pick<Journals, 'names' | 'remove'> & { open(name: string, bytes: number): Uint8Array };

/** The part of `Netback` of 7952fb1 that tests use. Its seam of the hypervisor and its ports are parts of today's. */
export interface OldNetback {
  open(
    options: {
      readonly xen: Xen;
      readonly port: () => Port;
      readonly payload: PayloadMode;
      readonly queues: number;
      readonly journals: OldJournals;
    },
    listeners: {
      readonly attached: (vif: unknown, how: Pick<AttachedHow, 'resumed'>) => void;
      readonly error: (error: Error) => void;
    },
  ): Promise<AsyncDisposable>;
}

/**
 * Takes `lib/` of an earlier commit out of git's history, once for all runs: a build has it below its folder.
 * @returns the folder, or why it cannot be had.
 */
function checkedOut(commit: string): { readonly folder: string } | { readonly missing: string } {
  const history = join(root, 'build/history');
  const folder = join(history, commit);
  if (existsSync(folder)) return { folder };
  const archive = spawnSync('git', ['archive', commit, 'lib'], { cwd: root, maxBuffer: 2 ** 28 });
  if (archive.status !== 0) {
    const why = archive.error?.message ?? archive.stderr.toString().trim();
    return { missing: `commit ${commit} is not in the history of this checkout (git archive: ${why})` };
  }
  mkdirSync(history, { recursive: true });
  const unpacked = mkdtempSync(join(history, 'unpacking-'));
  const { status, stderr } = spawnSync('tar', ['-x', '-C', unpacked], { input: archive.stdout });
  if (status !== 0) throw new Error(`tar: ${stderr}`);
  try {
    renameSync(unpacked, folder);
  } catch (error) {
    // Another run of the tests has unpacked it meanwhile.
    if (!existsSync(folder)) throw error;
    rmSync(unpacked, { recursive: true });
  }
  return { folder };
}

/** @returns the Netback of an earlier commit, or why there is none. Its TypeScript is transformed as that of a test. */
export async function oldNetback(
  commit: string,
): Promise<{ readonly Netback: OldNetback } | { readonly missing: string }> {
  const found = checkedOut(commit);
  if ('missing' in found) return found;
  return import(join(found.folder, 'lib/netback/netback.ts'));
}

/** The same journals for code of 7952fb1. Its `journalFiles` replaced a file of another length by one with this head. */
export function oldJournals(journals: Journals): OldJournals {
  return {
    open: (name, bytes) => {
      const found: JournalPages = journals.open(name, bytes);
      if (found.bytes.length === bytes) return found.bytes;
      found.close();
      journals.remove(name);
      return journals.open(name, bytes).bytes.fill(0xff, 0, 4);
    },
    names: (vif) => journals.names(vif),
    remove: (name) => journals.remove(name),
  };
}
