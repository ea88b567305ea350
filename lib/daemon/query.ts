import { lstatSync, rmSync, type Stats } from 'node:fs';
import type { Server, Socket } from 'node:net';
import { join } from 'node:path';
import { hostRemedy, VifdError, type VifdErrorCode, type VifdErrorDetails } from '../errors.js';

/**
 * The unix socket in the runtime directory by which other programs ask a running vifd; only vifd's user may connect. A connection has one
 * question and one response, each one line of JSON.
 */
const SOCKET = 'socket';

const QUESTION_BYTES_MAX = 256;
/** The longest response. A vif has about 3 KB of text, and a vifd serves a few hundred vifs at most. */
const RESPONSE_BYTES_MAX = 16 << 20;
const CONNECTIONS_MAX = 8;
const TIMEOUT_MS = 2000;

export type Question =
  | {
      readonly ask: 'show';
      /** A name such as vif1.0; default: all vifs. */
      readonly vif?: string;
    }
  /** Which process serves each vif, without a question to that process. A vifd without workers has no vifs to name. */
  | { readonly ask: 'workers' }
  | { readonly ask: 'detach'; readonly vif: string };

/** Returns the response to a question. Throws, or rejects with, an error for the program that asks. */
export type QueryHandler = (question: Question) => unknown;

type QueryResponse<T> =
  // `answer` is the key of every vifd's response, so that programs and vifds of different builds understand each other.
  | { readonly schemaVersion: 1; readonly answer: T }
  | { readonly schemaVersion: 1; readonly error: { readonly code: VifdErrorCode; readonly message: string } };

export interface QueryServer extends AsyncDisposable {
  readonly path: string;
  /** False once the socket was deleted or replaced, so that no question arrives. */
  readonly stands: boolean;
}

/** Returns node:net, which is loaded only here because it costs a start 4 ms. */
function net(): typeof import('node:net') {
  return process.getBuiltinModule('node:net');
}

/**
 * Responds to questions. The caller has the directory's lock, so an existing socket belongs to a dead vifd and is replaced.
 * @throws VifdError ERR_QUERY if the socket cannot be created; vifd serves guests all the same.
 */
export async function serveQueries(
  directory: string,
  handler: QueryHandler,
  onError: (error: VifdError) => void = () => {},
): Promise<QueryServer> {
  const path = join(directory, SOCKET);
  const open = new Set<Socket>();
  const server = net().createServer({ allowHalfOpen: true }, (socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
    converse(socket, handler);
  });
  server.maxConnections = CONNECTIONS_MAX;
  try {
    rmSync(path, { force: true });
    await listen(server, path);
  } catch (error) {
    const { code = 'EIO' } = error as NodeJS.ErrnoException;
    throw queryFault(`${path} cannot be listened at`, code, error);
  }
  server.on('error', (error: NodeJS.ErrnoException) => {
    // Closed at once, because libuv would try the next connection without a pause, and guests would wait.
    server.close();
    onError(queryFault(`Connections to ${path} cannot be accepted`, error.code ?? 'EIO', error));
  });
  // The socket must not prevent the end of the process.
  server.unref();
  const own = socketAt(path);
  const isOwn = (there: Stats | undefined) => there?.ino === own?.ino && there?.dev === own?.dev;
  return {
    path,
    get stands() {
      return isOwn(socketAt(path));
    },
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy();
      const there = socketAt(path);
      // On close, libuv deletes the socket by its name, which may belong to another vifd by now. This descriptor ends with the process.
      if (there !== undefined && !isOwn(there)) return;
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function queryFault(what: string, errno: string, cause: unknown): VifdError {
  const message =
    `${what} (${errno}), so \`vifd show\` does not work; guests are still served. ` +
    `To mend this, ${hostRemedy(errno)}; vifd tries again by itself.`;
  return new VifdError('ERR_QUERY', message, { errno, cause });
}

function socketAt(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    // The call creates the socket with this umask, so that no other user may connect at any time.
    const mask = process.umask(0o177);
    try {
      server.listen({ path }, resolve);
    } finally {
      process.umask(mask);
    }
  });
}

function converse(socket: Socket, handler: QueryHandler): void {
  let text = '';
  socket.setEncoding('utf8').setTimeout(TIMEOUT_MS, () => socket.destroy());
  // The program that asks may end at any time.
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk) => {
    text += chunk;
    const end = text.indexOf('\n');
    if (end < 0 && text.length <= QUESTION_BYTES_MAX) return;
    socket.removeAllListeners('data').resume();
    responseTo(end < 0 ? text : text.slice(0, end), handler).then((reply) => {
      socket.end(`${JSON.stringify(reply)}\n`);
    });
  });
  socket.on('end', () => socket.end());
}

async function responseTo(text: string, handler: QueryHandler): Promise<QueryResponse<unknown>> {
  try {
    return { schemaVersion: 1, answer: await handler(questionIn(text)) };
  } catch (error) {
    const code = error instanceof VifdError ? error.code : 'ERR_STATE';
    return {
      schemaVersion: 1,
      error: { code, message: error instanceof Error ? error.message : String(error) },
    };
  }
}

/** @throws VifdError ERR_ARGUMENT for a line that is no question. */
function questionIn(text: string): Question {
  const wrong = (why: string) =>
    new VifdError('ERR_ARGUMENT', `The question ${why}: send {"ask":"show","vif":"vif1.0"} and a line feed.`);
  if (text.length > QUESTION_BYTES_MAX) throw wrong(`is longer than ${QUESTION_BYTES_MAX} characters`);
  let value: Record<string, unknown> | null;
  try {
    value = JSON.parse(text);
  } catch {
    throw wrong('is not JSON');
  }
  const { ask, vif } = value ?? {};
  if (ask !== 'show' && ask !== 'detach' && ask !== 'workers') throw wrong(`asks for ${JSON.stringify(ask)}`);
  if (vif !== undefined && typeof vif !== 'string') throw wrong(`names the vif ${JSON.stringify(vif)}`);
  if (ask === 'workers') return { ask };
  if (ask === 'detach') {
    if (vif === undefined) throw wrong('names no vif');
    return { ask, vif };
  }
  return vif === undefined ? { ask } : { ask, vif };
}

/**
 * Asks the vifd that serves from `directory`.
 * @throws VifdError ERR_NOT_RUNNING, ERR_QUERY, or the error in the response.
 */
export async function ask<T>(directory: string, question: Question): Promise<T> {
  const path = join(directory, SOCKET);
  const text = await exchange(path, `${JSON.stringify(question)}\n`);
  if (text === '') throw closedEarly(path);
  let response: QueryResponse<T>;
  try {
    response = JSON.parse(text);
  } catch {
    throw new VifdError(
      'ERR_QUERY',
      `The vifd at ${path} closed the connection in the middle of its response: run the command again.`,
    );
  }
  if ('error' in response) throw new VifdError(response.error.code, response.error.message);
  return response.answer;
}

function exchange(path: string, question: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = net().createConnection({ path });
    const fail = (error: VifdError) => {
      socket.destroy();
      reject(error);
    };
    socket.setEncoding('utf8').setTimeout(TIMEOUT_MS, () => {
      const message = `The vifd at ${path} did not respond within ${TIMEOUT_MS} ms: its log reports why. Run the command again.`;
      fail(new VifdError('ERR_TIMEOUT', message));
    });
    socket.on('connect', () => socket.write(question));
    socket.on('data', (chunk) => {
      text += chunk;
      if (text.length > RESPONSE_BYTES_MAX)
        fail(
          new VifdError(
            'ERR_QUERY',
            `The response from ${path} is longer than a vifd sends (${RESPONSE_BYTES_MAX} bytes): check which program listens there.`,
          ),
        );
    });
    socket.on('end', () => resolve(text));
    socket.on('error', (error: NodeJS.ErrnoException) => fail(unreachable(path, error)));
  });
}

function unreachable(path: string, cause: NodeJS.ErrnoException): VifdError {
  const { code = 'EIO' } = cause;
  const details = { errno: code, cause };
  if (code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'ENOTDIR') {
    const message = `No vifd listens at ${path}: start \`vifd run\`, or name its directory by --journal.`;
    return new VifdError('ERR_NOT_RUNNING', message, details);
  }
  if (code === 'ECONNRESET' || code === 'EPIPE') return closedEarly(path, details);
  return new VifdError(
    'ERR_QUERY',
    `The socket ${path} cannot be connected to (${code}): run the command as the user of \`vifd run\`.`,
    details,
  );
}

/** The error for a connection that was closed at once: libuv closes those that it cannot accept, and vifd those beyond its limit. */
function closedEarly(path: string, details: VifdErrorDetails = {}): VifdError {
  const message =
    `The vifd at ${path} closed the connection without a response, as it does while it has no file descriptor left (EMFILE: ` +
    `${hostRemedy('EMFILE')}), or while ${CONNECTIONS_MAX} other programs are connected: run the command again.`;
  return new VifdError('ERR_QUERY', message, details);
}
