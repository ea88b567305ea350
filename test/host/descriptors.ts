import { closeSync, fstatSync, openSync, readdirSync } from 'node:fs';

/** How many descriptors this process has open. */
export function openCount(): number {
  // The descriptor that reads the folder is among them.
  return readdirSync('/proc/self/fd').length - 1;
}

/** The identity of a file. */
export function inodeOf(descriptor: number): bigint {
  return fstatSync(descriptor, { bigint: true }).ino;
}

/** Calls with descriptors of as many paths, which are closed afterwards. */
export function withOpen<T>(paths: readonly string[], call: (...descriptors: number[]) => T): T {
  const descriptors = paths.map((path) => openSync(path, 'r'));
  try {
    return call(...descriptors);
  } finally {
    for (const descriptor of descriptors) closeSync(descriptor);
  }
}
