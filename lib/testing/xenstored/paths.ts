import { ABS_PATH_MAX, REL_PATH_MAX } from '../../xen/store/wire.js';

/** Where a domain's relative paths start (xenstore.txt, `<path>`). */
export function domainPath(domid: number): string {
  return `/local/domain/${domid}`;
}

/** ASCII alphanumerics and -/_@; one slash at a time, none at the end (xenstore.txt). */
const PATH = /^\/$|^(\/[A-Za-z0-9\-_@]+)+$/;
const NAME_CHARACTERS = /^[A-Za-z0-9\-_@/]+$/;

/**
 * Returns the absolute form of a path that a domain names. Dom0's tools use sockets, on which relative paths have no meaning.
 * @returns undefined if the path is invalid.
 */
export function canonicalPath(domid: number, path: string): string | undefined {
  const relative = !path.startsWith('/');
  if (relative && (domid === 0 || path.startsWith('@') || path.length > REL_PATH_MAX)) return undefined;
  const absolute = relative ? `${domainPath(domid)}/${path}` : path;
  // Checks the length first, because a regular expression must not read text of any length.
  return absolute.length <= ABS_PATH_MAX && PATH.test(absolute) ? absolute : undefined;
}

/** As `canonicalPath`; also accepts the special watches, which start with @ and name no node. */
export function canonicalWatchPath(domid: number, path: string): string | undefined {
  if (!path.startsWith('@')) return canonicalPath(domid, path);
  return path.length <= REL_PATH_MAX && NAME_CHARACTERS.test(path) ? path : undefined;
}

/** The parent of the root is the root. */
export function parentPath(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/';
}

export function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

export function childPath(path: string, name: string): string {
  return path === '/' ? `/${name}` : `${path}/${name}`;
}

/** Yields the path itself, its parent and so on to the root. */
export function* ancestors(path: string): Generator<string> {
  for (let at = path; at !== '/'; at = parentPath(at)) yield at;
  yield '/';
}
