import { lstatSync, mkdirSync, readFileSync, realpathSync, type Stats, statSync } from 'node:fs';
import { dirname, join, parse, resolve, sep } from 'node:path';
import { VifdError } from '../errors.js';
import { quoted } from '../text.js';

const WRITABLE_BY_OTHERS = 0o022;
const SEARCHABLE_BY_OTHERS = 0o011;
const STICKY = 0o1000;

/**
 * Makes a runtime directory, for its user alone, unless it is there.
 * @throws VifdError ERR_ARGUMENT when other users can put files into it, or put another directory in its place; ERR_JOURNAL,
 * with the errno, when it cannot be made.
 */
export function makeRuntimeDirectory(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    requirePrivate(directory);
  } catch (error) {
    if (error instanceof VifdError) throw error;
    throw unusable(directory, (error as NodeJS.ErrnoException).code ?? 'EIO');
  }
}

export function unusable(directory: string, errno: string): VifdError {
  const message = `The runtime directory ${quoted(directory, 200)} cannot be used (${errno}): name another by --journal.`;
  return new VifdError('ERR_JOURNAL', message, { errno });
}

/**
 * Journals hold frames of guests and decide what is sent again: another user must not be able to write them, to be here first
 * with files of their names, or to exchange the directory for another one.
 */
function requirePrivate(directory: string): void {
  requireOwnLinks(resolve(directory));
  const real = realpathSync(directory);
  const found = statSync(real);
  if (!isOurs(found)) throw refused(directory, `belongs to user ${found.uid}`, `chown ${userId()} ${real}`);
  // A tmpfs that was just mounted is sticky and open, as /tmp is: in a place that others cannot enter that is no harm.
  const hidden = (found.mode & STICKY) !== 0 && isHidden(real);
  if ((found.mode & WRITABLE_BY_OTHERS) !== 0 && !hidden)
    throw refused(directory, `can be written by others (mode ${modeText(found)})`, `chmod 700 ${real}`);
  for (let parent = dirname(real), child = real; parent !== child; child = parent, parent = dirname(parent))
    requireSafeParent(directory, parent);
}

/** Whether a folder above keeps all others out. */
function isHidden(directory: string): boolean {
  const parent = dirname(directory);
  if (parent === directory) return false;
  return (statSync(parent).mode & SEARCHABLE_BY_OTHERS) === 0 || isHidden(parent);
}

/** A symbolic link of another user's leads wherever that user likes, in the next moment too. */
function requireOwnLinks(path: string): void {
  const { root } = parse(path);
  let at = root;
  for (const name of path.slice(root.length).split(sep)) {
    at = join(at, name);
    const found = lstatSync(at);
    if (found.isSymbolicLink() && !isOurs(found))
      throw refused(path, `is reached by a link of user ${found.uid}, ${quoted(at, 200)}`, `rm ${at}`);
  }
}

function requireSafeParent(directory: string, parent: string): void {
  const found = statSync(parent);
  const where = `lies in ${quoted(parent, 200)}, which`;
  if (!isOurs(found))
    throw refused(directory, `${where} belongs to user ${found.uid}`, `chown ${userId()} ${parent}`);
  if ((found.mode & WRITABLE_BY_OTHERS) !== 0 && (found.mode & STICKY) === 0)
    throw refused(directory, `${where} others can write (mode ${modeText(found)})`, `chmod go-w ${parent}`);
}

/** Root's or this user's; root may do all anyway. */
function isOurs({ uid }: Stats): boolean {
  return uid === 0 || uid === userId() || (uid === OVERFLOW_UID && inUserNamespace());
}

function userId(): number {
  return process.geteuid?.() ?? 0;
}

/** How users without a number in this user namespace appear, root of the host among them (/proc/sys/kernel/overflowuid). */
const OVERFLOW_UID = 65_534;

function inUserNamespace(): boolean {
  return !/^\s*0\s+0\s+4294967295\s*$/.test(readFileSync('/proc/self/uid_map', 'utf8'));
}

function modeText({ mode }: Stats): string {
  return (mode & 0o7777).toString(8);
}

function refused(directory: string, why: string, remedy: string): VifdError {
  const message = `The runtime directory ${quoted(directory, 200)} ${why}: \`${remedy}\`, or name another by --journal.`;
  return new VifdError('ERR_ARGUMENT', message);
}
