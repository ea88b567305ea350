import { lstatSync, mkdirSync, readFileSync, realpathSync, type Stats, statSync } from 'node:fs';
import { dirname, join, parse, resolve, sep } from 'node:path';
import { VifdError } from '../errors.js';
import { quoted } from '../text.js';

const WRITABLE_BY_OTHERS = 0o022;
const SEARCHABLE_BY_OTHERS = 0o011;
const STICKY = 0o1000;

/**
 * Creates a runtime directory that only its own user can enter, if it is missing.
 * @throws VifdError ERR_ARGUMENT if other users can put files into it, or can replace it; ERR_JOURNAL,
 * with the errno, if it cannot be created.
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
 * Requires that only this user (and root) controls the directory. Journals contain frames of guests and decide which frames are sent again:
 * another user must not be able to write journals, to create files of their names first, or to replace the directory.
 */
function requirePrivate(directory: string): void {
  requireOwnLinks(resolve(directory));
  const real = realpathSync(directory);
  const found = statSync(real);
  if (!isOurs(found)) throw refused(directory, `belongs to user ${found.uid}`, `chown ${userId()} ${real}`);
  // A tmpfs that was just mounted is sticky and writable by all, as /tmp is. That is safe below a directory that others cannot enter.
  const hidden = (found.mode & STICKY) !== 0 && isHidden(real);
  if ((found.mode & WRITABLE_BY_OTHERS) !== 0 && !hidden)
    throw refused(directory, `can be written by others (mode ${modeText(found)})`, `chmod 700 ${real}`);
  for (let parent = dirname(real), child = real; parent !== child; child = parent, parent = dirname(parent))
    requireSafeParent(directory, parent);
}

/** Whether a directory above excludes all other users. */
function isHidden(directory: string): boolean {
  const parent = dirname(directory);
  if (parent === directory) return false;
  return (statSync(parent).mode & SEARCHABLE_BY_OTHERS) === 0 || isHidden(parent);
}

/** Requires that no symbolic link on the path belongs to another user, who could change its target at any time. */
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

/** Whether the file belongs to this user or to root, who may do everything anyway. */
function isOurs({ uid }: Stats): boolean {
  return uid === 0 || uid === userId() || (uid === OVERFLOW_UID && inUserNamespace());
}

function userId(): number {
  return process.geteuid?.() ?? 0;
}

/** The uid that stands for users who have none in this user namespace, root of the host among them (/proc/sys/kernel/overflowuid). */
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
