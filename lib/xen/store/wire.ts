/**
 * The xenstore wire protocol (xen/io/xs_wire.h, docs/misc/xenstore.txt): headers, strings, permissions, limits.
 * No I/O. The client and the model's server read and write the same messages with this code.
 */
import { VifdError } from '../../errors.js';
import type { Permission } from '../seam.js';

/** struct xsd_sockmsg: type, req_id, tx_id, len; each a little-endian u32 on x86 and arm. */
export const HEADER_BYTES = 16;
/** XENSTORE_PAYLOAD_MAX. xenstored ends a connection that exceeds it, so vifd refuses such a request before it sends it. */
export const PAYLOAD_MAX = 4096;
/** XENSTORE_ABS_PATH_MAX and XENSTORE_REL_PATH_MAX. A longer path only gets an ERROR reply. */
export const ABS_PATH_MAX = 3072;
export const REL_PATH_MAX = 2048;

/** enum xsd_sockmsg_type. 20 was XS_RESTRICT. */
export const MessageType = {
  CONTROL: 0,
  DIRECTORY: 1,
  READ: 2,
  GET_PERMS: 3,
  WATCH: 4,
  UNWATCH: 5,
  TRANSACTION_START: 6,
  TRANSACTION_END: 7,
  INTRODUCE: 8,
  RELEASE: 9,
  GET_DOMAIN_PATH: 10,
  WRITE: 11,
  MKDIR: 12,
  RM: 13,
  SET_PERMS: 14,
  WATCH_EVENT: 15,
  ERROR: 16,
  IS_DOMAIN_INTRODUCED: 17,
  RESUME: 18,
  SET_TARGET: 19,
  RESET_WATCHES: 21,
  DIRECTORY_PART: 22,
} as const;

/** Requests for which ENOENT is a result and not an error: many keys are absent, and an Error with its stack is costly. */
export const MISSING_IS_A_RESULT: ReadonlySet<number> = new Set([
  MessageType.READ,
  MessageType.DIRECTORY,
  MessageType.DIRECTORY_PART,
  MessageType.GET_PERMS,
  MessageType.RM,
]);

const TYPE_NAMES = new Map<number, string>(Object.entries(MessageType).map(([name, type]) => [type, name]));

/** Returns the name of a type for messages, such as `READ`, or the number of an unknown type. */
export function typeName(type: number): string {
  return TYPE_NAMES.get(type) ?? String(type);
}

export interface Message {
  readonly type: number;
  /** Echoed in the reply; 0 in watch events. */
  readonly requestId: number;
  /** 0 outside transactions. */
  readonly transactionId: number;
  /** May share memory with the chunk that it arrived in: a receiver that stores it must copy it. */
  readonly payload: Buffer;
}

/** @param payload at most PAYLOAD_MAX bytes; callers check it with `requirePayloadFits` first, whose error names the request. */
export function encodeMessage(message: Message): Buffer {
  const { type, requestId, transactionId, payload } = message;
  if (payload.length > PAYLOAD_MAX) throw protocolError(payload.length);
  const bytes = Buffer.allocUnsafe(HEADER_BYTES + payload.length);
  bytes.writeUInt32LE(type, 0);
  bytes.writeUInt32LE(requestId, 4);
  bytes.writeUInt32LE(transactionId, 8);
  bytes.writeUInt32LE(payload.length, 12);
  payload.copy(bytes, HEADER_BYTES);
  return bytes;
}

/** Splits a stream into messages, however it is chunked. Stores at most one incomplete message. */
export class MessageDecoder {
  #chunks: Buffer[] = [];
  #bytes = 0;
  /** How many bytes must be there before the next attempt to decode. */
  #needed = HEADER_BYTES;

  /**
   * @returns the messages that `chunk` completed.
   * @throws VifdError ERR_STORE with errno EPROTO for a payload above PAYLOAD_MAX. The stream is then useless.
   */
  push(chunk: Buffer): Message[] {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes < this.#needed) return [];
    const bytes = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks, this.#bytes);
    const messages: Message[] = [];
    let at = 0;
    while (bytes.length - at >= HEADER_BYTES) {
      const end = at + HEADER_BYTES + payloadLength(bytes, at);
      if (end > bytes.length) break;
      messages.push(decodeAt(bytes, at, end));
      at = end;
    }
    this.#keep(bytes.subarray(at));
    return messages;
  }

  #keep(rest: Buffer): void {
    this.#chunks = rest.length === 0 ? [] : [rest];
    this.#bytes = rest.length;
    this.#needed = HEADER_BYTES + (rest.length < HEADER_BYTES ? 0 : payloadLength(rest, 0));
  }
}

function payloadLength(bytes: Buffer, at: number): number {
  const length = bytes.readUInt32LE(at + 12);
  if (length > PAYLOAD_MAX) throw protocolError(length);
  return length;
}

function decodeAt(bytes: Buffer, at: number, end: number): Message {
  return {
    type: bytes.readUInt32LE(at),
    requestId: bytes.readUInt32LE(at + 4),
    transactionId: bytes.readUInt32LE(at + 8),
    payload: bytes.subarray(at + HEADER_BYTES, end),
  };
}

function protocolError(length: number): VifdError {
  const message = `A xenstore message announces ${length} bytes of payload; the protocol allows ${PAYLOAD_MAX} (EPROTO).`;
  return new VifdError('ERR_STORE', message, { errno: 'EPROTO' });
}

// ---- payloads -----------------------------------------------------------------------------------

/** Returns the strings, each followed by a NUL, as most requests need them. */
export function encodeStrings(...strings: readonly string[]): Buffer {
  return Buffer.from(`${strings.join('\0')}\0`, 'utf8');
}

/** Returns the payload of a WRITE, `<path>|<value|>`: no NUL follows the value. */
export function encodeWrite(path: string, value: string): Buffer {
  return Buffer.from(`${path}\0${value}`, 'utf8');
}

/** Returns the NUL-terminated strings of a payload. Bytes after the last NUL are no string and are left out. */
export function decodeStrings(payload: Buffer): string[] {
  const strings: string[] = [];
  let at = 0;
  for (let end = payload.indexOf(0, at); end !== -1; end = payload.indexOf(0, at)) {
    strings.push(payload.toString('utf8', at, end));
    at = end + 1;
  }
  return strings;
}

/**
 * Requires a path without a NUL, which would end the path early and make the store act on another node.
 * @throws VifdError ERR_STORE with errno EINVAL.
 */
export function requireNoNul(type: number, path: string): void {
  if (path.includes('\0')) throw storeError('EINVAL', type, path);
}

/** @throws VifdError ERR_STORE with errno E2BIG for a request that is too long: xenstored would respond by ending the connection. */
export function requirePayloadFits(type: number, path: string, payload: Buffer, limit = PAYLOAD_MAX): void {
  if (payload.length > limit) throw storeError('E2BIG', type, path);
}

// ---- permissions --------------------------------------------------------------------------------

const ACCESS_LETTERS: Record<Permission['access'], string> = { none: 'n', read: 'r', write: 'w', both: 'b' };
const ACCESS_OF_LETTER = new Map(
  Object.entries(ACCESS_LETTERS).map(([access, letter]) => [letter, access as Permission['access']]),
);
const DOMID_MAX = 0xffff;

/** `b0`, `r5`, `n1`, `w3`. */
export function formatPermission(permission: Permission): string {
  return `${ACCESS_LETTERS[permission.access]}${permission.domid}`;
}

/** @returns undefined when the text is no permission. */
export function parsePermission(text: string): Permission | undefined {
  const access = ACCESS_OF_LETTER.get(text.charAt(0));
  const digits = text.slice(1);
  if (access === undefined || !/^[0-9]{1,5}$/.test(digits) || Number(digits) > DOMID_MAX) return undefined;
  return { domid: Number(digits), access };
}

// ---- errors -------------------------------------------------------------------------------------

/**
 * The errors that an ERROR reply may name (xsd_errors in xs_wire.h, sent as text), and EQUOTA, which oxenstored adds.
 * Other names are passed on unchanged.
 */
const ERROR_NAMES = [
  ...['EINVAL', 'EACCES', 'EEXIST', 'EISDIR', 'ENOENT', 'ENOMEM', 'ENOSPC', 'EIO', 'ENOTEMPTY', 'ENOSYS'],
  ...['EROFS', 'EBUSY', 'EAGAIN', 'EISCONN', 'E2BIG', 'EPERM', 'EQUOTA'],
] as const;
export type StoreErrno = (typeof ERROR_NAMES)[number];

/** @returns the system's number, or undefined for a name that this system does not have (EQUOTA). */
export function errnoNumber(name: string): number | undefined {
  // Loaded only here, because most starts do not need it.
  const numbers: Record<string, number | undefined> = process.getBuiltinModule('node:os').constants.errno;
  return numbers[name];
}

/** @returns the name that an ERROR reply has for a number; EINVAL for a number without a name, as in xenstored. */
export function errnoName(number: number): StoreErrno {
  return ERROR_NAMES.find((name) => errnoNumber(name) === number) ?? 'EINVAL';
}

/** Returns the error that callers of `Store` get for an ERROR reply or a lost connection. */
export function storeError(errno: string, type: number, path: string, cause?: unknown): VifdError {
  const operation = typeName(type).toLowerCase().replaceAll('_', ' ');
  const shown = path === '' ? '' : ` of ${JSON.stringify(path)}`;
  // A conflict is an ERROR reply of the store too; any other cause is that of a lost connection.
  const refused = cause === undefined || (cause instanceof VifdError && cause.errno === errno);
  const why = refused ? reasonFor(errno, type) : 'the connection to xenstored was lost meanwhile';
  const message = `xenstore ${operation}${shown} failed with ${errno}${why === undefined ? '' : `: ${why}`}.`;
  return new VifdError('ERR_STORE', message, { errno, cause });
}

/** The options of xenstored and of oxenstored.conf that raise a quota of a domain. */
const QUOTAS = {
  nodes: '`xenstored --entry-nb` or quota-maxentity',
  transactions: '`xenstored --transaction` or quota-transaction',
  watches: '`xenstored --watch-nb` or quota-maxwatch',
};

function quotaReached(what: keyof typeof QUOTAS): string {
  return `the quota of ${what} of its domain is used up: raise it (${QUOTAS[what]} in oxenstored.conf)`;
}

/** Returns why a request failed and what to do, if the errno tells. */
function reasonFor(errno: string, type: number): string | undefined {
  switch (errno) {
    case 'EACCES':
    case 'EPERM':
      return 'this domain lacks the rights: see them with `xenstore-ls -p`, and set them with `xenstore-chmod`';
    case 'EAGAIN':
      return 'other programs change the same nodes: end what writes there without pause';
    case 'ENOSPC':
    case 'EQUOTA':
    case 'E2BIG':
      if (type === MessageType.WATCH) return quotaReached('watches');
      if (type === MessageType.TRANSACTION_START) return quotaReached('transactions');
      if (errno === 'E2BIG') return `xenstore takes ${PAYLOAD_MAX} bytes at most`;
      return `${quotaReached('nodes')}, or remove nodes`;
    case 'EINVAL':
      return 'xenstored takes no such path or value';
    case 'EBUSY':
      return 'too many requests wait: look at the load and the log of xenstored';
    case 'EIO':
    case 'EROFS':
      return 'the cause is in xenstored: look at its log';
    case 'ENOMEM':
      return 'xenstored has no memory: free memory where it runs';
    case 'ENOSYS':
      return 'this xenstored does not know the request: update it';
    default:
      return undefined;
  }
}

/** Whether the error is the store's response with this errno. */
export function isStoreError(error: unknown, errno: StoreErrno): boolean {
  return error instanceof VifdError && error.code === 'ERR_STORE' && error.errno === errno;
}
