import { VifdError } from '../../errors.js';
import type { Permission, StoreView } from '../seam.js';
import {
  decodeStrings,
  encodeStrings,
  encodeWrite,
  formatPermission,
  isStoreError,
  MessageType,
  parsePermission,
  requireNoNul,
  storeError,
} from './wire.js';

/**
 * Sends one request and resolves with the payload of its reply, or with undefined if there is no such node (requests of
 * `MISSING_IS_A_RESULT`); rejects with any other error of the store.
 */
export type Talk = (type: number, path: string, payload: Buffer) => Promise<Buffer | undefined>;

/** How often to start a listing in parts again because the directory changed between two parts; then it fails. */
const LISTING_ATTEMPTS_MAX = 64;

/** The operations of `StoreView`, as messages over `talk`. */
export function storeView(talk: Talk): StoreView {
  const ask = async (type: number, path: string): Promise<Buffer | undefined> => {
    requireNoNul(type, path);
    return talk(type, path, encodeStrings(path));
  };
  const read = async (path: string) => (await ask(MessageType.READ, path))?.toString('utf8');
  return {
    read,
    readAll: (paths) => Promise.all(paths.map(read)),
    write: async (path, value) => {
      requireNoNul(MessageType.WRITE, path);
      await talk(MessageType.WRITE, path, encodeWrite(path, value));
    },
    list: (path) => list(talk, path),
    mkdir: async (path) => void (await ask(MessageType.MKDIR, path)),
    // If the parent is missing too, xenstored responds with ENOENT (xenstore.txt, RM), which here means the same: the node is gone.
    rm: async (path) => void (await ask(MessageType.RM, path)),
    getPermissions: async (path) => decodePermissions(path, await ask(MessageType.GET_PERMS, path)),
    setPermissions: async (path, permissions) => {
      requireNoNul(MessageType.SET_PERMS, path);
      const payload = encodeStrings(path, ...permissions.map(formatPermission));
      await talk(MessageType.SET_PERMS, path, payload);
    },
  };
}

async function list(talk: Talk, path: string): Promise<string[]> {
  requireNoNul(MessageType.DIRECTORY, path);
  try {
    const names = await talk(MessageType.DIRECTORY, path, encodeStrings(path));
    return names === undefined ? [] : decodeStrings(names);
  } catch (error) {
    // E2BIG: the names have more than PAYLOAD_MAX bytes.
    if (isStoreError(error, 'E2BIG')) return listInParts(talk, path);
    throw error;
  }
}

async function listInParts(talk: Talk, path: string): Promise<string[]> {
  for (let attempt = 0; attempt < LISTING_ATTEMPTS_MAX; attempt += 1) {
    const names = await collectParts(talk, path);
    if (names === undefined) return [];
    if (names.length > 0) return decodeStrings(names);
  }
  throw storeError('EAGAIN', MessageType.DIRECTORY_PART, path);
}

/** @returns the names, ended by an empty one; an empty Buffer if the node changed between two parts; undefined if it is gone. */
async function collectParts(talk: Talk, path: string): Promise<Buffer | undefined> {
  const parts: Buffer[] = [];
  let generation: string | undefined;
  for (let offset = 0; ; ) {
    const part = await talk(MessageType.DIRECTORY_PART, path, encodeStrings(path, String(offset)));
    if (part === undefined) return undefined;
    const split = part.indexOf(0) + 1;
    const seen = part.toString('latin1', 0, split);
    if (generation !== undefined && seen !== generation) return Buffer.alloc(0);
    generation = seen;
    const names = part.subarray(split);
    if (names.length === 0) throw storeError('EIO', MessageType.DIRECTORY_PART, path);
    // An empty name ends the listing.
    const last = names[names.length - 1] === 0 && (names.length === 1 || names[names.length - 2] === 0);
    parts.push(last ? names.subarray(0, -1) : names);
    offset += names.length;
    if (last) return withEnd(parts);
  }
}

/** Joins the parts and adds the end mark, so that the result for an empty directory differs from that for a changed one. */
function withEnd(parts: readonly Buffer[]): Buffer {
  const names = Buffer.concat(parts);
  return names.length === 0 ? Buffer.from('\0') : names;
}

function decodePermissions(path: string, payload: Buffer | undefined): Permission[] {
  if (payload === undefined) throw storeError('ENOENT', MessageType.GET_PERMS, path);
  return decodeStrings(payload).map((text) => {
    const permission = parsePermission(text);
    if (permission !== undefined) return permission;
    const message = `xenstore gave ${JSON.stringify(text)} as a permission of ${JSON.stringify(path)} (EIO).`;
    throw new VifdError('ERR_STORE', message, { errno: 'EIO' });
  });
}
