/**
 * Requests to the model's store, as messages: the content of a payload, the operation that it asks for, and the content of the reply
 * (docs/misc/xenstore.txt). The socket server and the in-process client both use this module.
 */
import { VifdError } from '../../errors.js';
import {
  decodeStrings,
  encodeStrings,
  formatPermission,
  isStoreError,
  type Message,
  MessageType,
  MISSING_IS_A_RESULT,
  PAYLOAD_MAX,
  parsePermission,
  type StoreErrno,
  storeError,
} from '../../xen/store/wire.js';
import { domainPath } from './paths.js';
import type { StoreSession } from './session.js';

type Request = Omit<Message, 'requestId'>;
type Handler = (session: StoreSession, request: Request) => Buffer;

const OK = encodeStrings('OK');

const HANDLERS = new Map<number, Handler>([
  [MessageType.READ, (session, request) => session.read(request.transactionId, onlyString(request)).value],
  [MessageType.WRITE, write],
  [MessageType.DIRECTORY, directory],
  [MessageType.DIRECTORY_PART, directoryPart],
  [
    MessageType.MKDIR,
    (session, request) => done(void session.mkdir(request.transactionId, onlyString(request))),
  ],
  [MessageType.RM, (session, request) => done(void session.rm(request.transactionId, onlyString(request)))],
  [MessageType.GET_PERMS, getPermissions],
  [MessageType.SET_PERMS, setPermissions],
  [MessageType.WATCH, (session, request) => done(void session.watch(...twoStrings(request)))],
  [MessageType.UNWATCH, (session, request) => done(void session.unwatch(...twoStrings(request)))],
  [MessageType.RESET_WATCHES, (session) => done(void session.reset())],
  [
    MessageType.TRANSACTION_START,
    (session, { transactionId }) => encodeStrings(String(session.begin(transactionId))),
  ],
  [MessageType.TRANSACTION_END, endTransaction],
  [
    MessageType.GET_DOMAIN_PATH,
    (_session, request) => encodeStrings(domainPath(domidOf(onlyString(request), request))),
  ],
  [MessageType.IS_DOMAIN_INTRODUCED, isDomainIntroduced],
  [MessageType.INTRODUCE, introduce],
  [MessageType.RELEASE, release],
  [MessageType.CONTROL, control],
]);

/** XS_FLAG_PRIV in xenstored_core.c: only dom0 may send these. RESUME and SET_TARGET, which are not served here, belong to them too. */
const PRIVILEGED = new Set<number>([
  ...[MessageType.CONTROL, MessageType.INTRODUCE, MessageType.RELEASE],
  ...[MessageType.IS_DOMAIN_INTRODUCED, MessageType.RESUME, MessageType.SET_TARGET],
]);

/**
 * Executes a request. Events of the session's own watches come during the call; send them after the reply.
 * @returns the reply's payload.
 * @throws VifdError ERR_STORE: its `errno` belongs into the ERROR reply.
 */
export function replyTo(session: StoreSession, request: Request): Buffer {
  const handler = HANDLERS.get(request.type);
  if (!session.privileged && PRIVILEGED.has(request.type)) return refuse(request, 'EACCES');
  if (handler === undefined) return refuse(request, 'ENOSYS');
  const payload = handler(session, request);
  return payload.length <= PAYLOAD_MAX ? payload : refuse(request, 'E2BIG');
}

/** As `replyTo`; undefined if there is no such node, for requests for which that is a valid result. */
export function replyOrMissing(session: StoreSession, request: Request): Buffer | undefined {
  try {
    return replyTo(session, request);
  } catch (error) {
    if (MISSING_IS_A_RESULT.has(request.type) && isStoreError(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** Returns the errno for the reply. Throws an error that is a bug of the model. */
export function errnoForReply(error: unknown): string {
  if (error instanceof VifdError && error.code === 'ERR_STORE') return error.errno ?? 'EIO';
  throw error;
}

function write(session: StoreSession, request: Request): Buffer {
  const { payload, transactionId } = request;
  const end = payload.indexOf(0);
  if (end === -1) return refuse(request, 'EINVAL');
  // The payload shares the memory of the chunk that it came in.
  const value = Buffer.from(payload.subarray(end + 1));
  return done(void session.write(transactionId, payload.toString('utf8', 0, end), value));
}

function directory(session: StoreSession, request: Request): Buffer {
  return names(session.list(request.transactionId, onlyString(request)).children);
}

/** The generation, then whole names from a byte offset; an empty name ends the listing. */
function directoryPart(session: StoreSession, request: Request): Buffer {
  const [path, offset] = twoStrings(request);
  const node = session.list(request.transactionId, path);
  const generation = encodeStrings(String(node.generation));
  const all = names(node.children);
  const start = /^[0-9]{1,9}$/.test(offset) ? Number(offset) : 0;
  if (start >= all.length) return Buffer.concat([generation, Buffer.alloc(1)]);
  // One byte is reserved for the end mark.
  const room = PAYLOAD_MAX - generation.length - 1;
  if (all.length - start <= room) return Buffer.concat([generation, all.subarray(start), Buffer.alloc(1)]);
  const end = all.lastIndexOf(0, start + room - 1) + 1;
  return Buffer.concat([generation, all.subarray(start, Math.max(start, end))]);
}

function names(children: readonly string[]): Buffer {
  return children.length === 0 ? Buffer.alloc(0) : encodeStrings(...children);
}

function getPermissions(session: StoreSession, request: Request): Buffer {
  const permissions = session.getPermissions(request.transactionId, onlyString(request));
  return encodeStrings(...permissions.map(formatPermission));
}

function setPermissions(session: StoreSession, request: Request): Buffer {
  const [path, ...texts] = decodeStrings(request.payload);
  if (path === undefined || texts.length === 0) return refuse(request, 'EINVAL');
  const permissions = texts.map((text) => parsePermission(text) ?? refuse(request, 'EINVAL', path));
  return done(void session.setPermissions(request.transactionId, path, permissions));
}

function endTransaction(session: StoreSession, request: Request): Buffer {
  const verdict = onlyString(request);
  if (verdict !== 'T' && verdict !== 'F') return refuse(request, 'EINVAL');
  return done(void session.end(request.transactionId, verdict === 'T'));
}

function isDomainIntroduced(session: StoreSession, request: Request): Buffer {
  return encodeStrings(session.store.isIntroduced(domidOf(onlyString(request), request)) ? 'T' : 'F');
}

/** Ignores the page and the event channel, which concern the hypervisor: the model's domains connect by sockets. */
function introduce(session: StoreSession, request: Request): Buffer {
  const [domid, frame, port] = decodeStrings(request.payload);
  if (domid === undefined || frame === undefined || port === undefined) return refuse(request, 'EINVAL');
  return done(void session.store.introduce(domidOf(domid, request)));
}

function release(session: StoreSession, request: Request): Buffer {
  const domid = domidOf(onlyString(request), request);
  if (domid === 0) return refuse(request, 'EINVAL');
  return session.store.release(domid) ? OK : refuse(request, 'ENOENT');
}

/** Each implementation defines its own commands (xenstore.txt, CONTROL). This one has only `help`. */
function control(_session: StoreSession, request: Request): Buffer {
  const [command] = decodeStrings(request.payload);
  return command === 'help' ? encodeStrings('help') : refuse(request, 'EINVAL');
}

// ---- payloads -----------------------------------------------------------------------------------

/** Returns the response to requests without a result. */
function done(_nothing: undefined): Buffer {
  return OK;
}

/** Returns the payload's only string: it has one NUL, at the end. */
function onlyString(request: Request): string {
  const { payload } = request;
  if (payload.length === 0 || payload.indexOf(0) !== payload.length - 1) return refuse(request, 'EINVAL');
  return payload.toString('utf8', 0, payload.length - 1);
}

function twoStrings(request: Request): [string, string] {
  const [first, second, ...others] = decodeStrings(request.payload);
  if (first === undefined || second === undefined || others.length > 0) return refuse(request, 'EINVAL');
  return [first, second];
}

function domidOf(text: string, request: Request): number {
  return /^[0-9]{1,5}$/.test(text) && Number(text) <= 0xffff ? Number(text) : refuse(request, 'EINVAL');
}

function refuse(request: Request, errno: StoreErrno, path = ''): never {
  throw storeError(errno, request.type, path);
}
