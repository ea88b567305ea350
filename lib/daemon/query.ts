import { lstatSync, rmSync, type Stats } from 'node:fs';
import type { Server, Socket } from 'node:net';
import { join } from 'node:path';
import { hostRemedy, VifdError, type VifdErrorCode, type VifdErrorDetails } from '../errors.js';

/**
 * How other programs ask a running vifd: a unix socket in its runtime directory, for its user alone. One line of JSON
 * is the question and one the answer, and the connection is over.
 */
const SOCKET = 'socket';

const QUESTION_BYTES_MAX = 256;
/** A whole vif is some 3 KB of text; there are a few hundred at most. */
const ANSWER_BYTES_MAX = 16 << 20;
const CONNECTIONS_MAX = 8;
const TIMEOUT_MS = 2000;

export type Question =
  | {
      readonly ask: 'show';
      /** As vif1.0; default all. */
      readonly vif?: string;
    }
  | { readonly ask: 'detach'; readonly vif: string };

/** @throws, or rejects with, what the asker is to get. */
export type Answerer = (question: Question) => unknown;

type Answer<T> =
  | { readonly schemaVersion: 1; readonly answer: T }
  | { readonly schemaVersion: 1; readonly error: { readonly code: VifdErrorCode; readonly message: string } };

export interface QueryServer extends AsyncDisposable {
  readonly path: string;
  /** False when its socket was deleted or replaced: then no question reaches it. */
  readonly stands: boolean;
}

/** node:net costs a start 4 ms: it is loaded where it is needed. */
function net(): typeof import('node:net') {
  return process.getBuiltinModule('node:net');
}

/**
 * Answers questions. The caller holds the directory's lock: a socket that is there is a dead vifd's, and is replaced.
 * @throws VifdError ERR_QUERY when there can be no socket; guests are served all the same.
 */
export async function serveQueries(
  directory: string,
  answer: Answerer,
  onError: (error: VifdError) => void = () => {},
): Promise<QueryServer> {
  const path = join(directory, SOCKET);
  const open = new Set<Socket>();
  const server = net().createServer({ allowHalfOpen: true }, (socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
    converse(socket, answer);
  });
  server.maxConnections = CONNECTIONS_MAX;
  try {
    rmSync(path, { force: true });
    await listen(server, path);
  } catch (error) {
    const { code = 'EIO' } = error as NodeJS.ErrnoException;
    throw unasked(`${path} cannot be listened at`, code, error);
  }
  server.on('error', (error: NodeJS.ErrnoException) => {
    // At once: libuv asks for the next connection without a pause, and guests would wait.
    server.close();
    onError(unasked(`Connections to ${path} cannot be accepted`, error.code ?? 'EIO', error));
  });
  // It must not keep the process alive: an end is an end.
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
      // libuv deletes by name what it listened at, and another vifd's must stay. This descriptor ends with the process.
      if (there !== undefined && !isOwn(there)) return;
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function unasked(what: string, errno: string, cause: unknown): VifdError {
  const message =
    `${what} (${errno}): \`vifd show\` does not work until then, and guests are served. ` +
    `To mend this, ${hostRemedy(errno)}; vifd tries again.`;
  return new VifdError('ERR_QUERY', message, { errno, cause });
}

function socketAt(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    // The socket is made within the call: nobody else may connect, from its first moment on.
    const mask = process.umask(0o177);
    try {
      server.listen({ path }, resolve);
    } finally {
      process.umask(mask);
    }
  });
}

function converse(socket: Socket, answer: Answerer): void {
  let text = '';
  socket.setEncoding('utf8').setTimeout(TIMEOUT_MS, () => socket.destroy());
  // Who asks may go at any time.
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk) => {
    text += chunk;
    const end = text.indexOf('\n');
    if (end < 0 && text.length <= QUESTION_BYTES_MAX) return;
    socket.removeAllListeners('data').resume();
    answerTo(end < 0 ? text : text.slice(0, end), answer).then((reply) => {
      socket.end(`${JSON.stringify(reply)}\n`);
    });
  });
  socket.on('end', () => socket.end());
}

async function answerTo(text: string, answer: Answerer): Promise<Answer<unknown>> {
  try {
    return { schemaVersion: 1, answer: await answer(questionIn(text)) };
  } catch (error) {
    const code = error instanceof VifdError ? error.code : 'ERR_STATE';
    return {
      schemaVersion: 1,
      error: { code, message: error instanceof Error ? error.message : String(error) },
    };
  }
}

/** @throws VifdError ERR_ARGUMENT for what is no question. */
function questionIn(text: string): Question {
  const wrong = (why: string) =>
    new VifdError(
      'ERR_ARGUMENT',
      `The question ${why}: send {"ask":"show","vif":"vif1.0"} and a line's end.`,
    );
  if (text.length > QUESTION_BYTES_MAX) throw wrong(`is longer than ${QUESTION_BYTES_MAX} characters`);
  let value: Record<string, unknown> | null;
  try {
    value = JSON.parse(text);
  } catch {
    throw wrong('is not JSON');
  }
  const { ask, vif } = value ?? {};
  if (ask !== 'show' && ask !== 'detach') throw wrong(`asks for ${JSON.stringify(ask)}`);
  if (vif !== undefined && typeof vif !== 'string') throw wrong(`names the vif ${JSON.stringify(vif)}`);
  if (ask === 'detach') {
    if (vif === undefined) throw wrong('names no vif');
    return { ask, vif };
  }
  return vif === undefined ? { ask } : { ask, vif };
}

/**
 * Asks the vifd that serves from `directory`.
 * @throws VifdError ERR_NOT_RUNNING, ERR_QUERY, or what the vifd answered with.
 */
export async function ask<T>(directory: string, question: Question): Promise<T> {
  const path = join(directory, SOCKET);
  const text = await exchange(path, `${JSON.stringify(question)}\n`);
  if (text === '') throw unanswered(path);
  let answer: Answer<T>;
  try {
    answer = JSON.parse(text);
  } catch {
    throw new VifdError('ERR_QUERY', `The vifd at ${path} broke off its answer: ask again.`);
  }
  if ('error' in answer) throw new VifdError(answer.error.code, answer.error.message);
  return answer.answer;
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
      const message = `The vifd at ${path} did not answer within ${TIMEOUT_MS} ms: look at its log.`;
      fail(new VifdError('ERR_TIMEOUT', message));
    });
    socket.on('connect', () => socket.write(question));
    socket.on('data', (chunk) => {
      text += chunk;
      if (text.length > ANSWER_BYTES_MAX)
        fail(new VifdError('ERR_QUERY', `The answer from ${path} has no end.`));
    });
    socket.on('end', () => resolve(text));
    socket.on('error', (error: NodeJS.ErrnoException) => fail(unreachable(path, error)));
  });
}

function unreachable(path: string, cause: NodeJS.ErrnoException): VifdError {
  const { code = 'EIO' } = cause;
  const details = { errno: code, cause };
  if (code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'ENOTDIR') {
    const message = `No vifd answers at ${path}: start \`vifd run\`, or name its directory by --journal.`;
    return new VifdError('ERR_NOT_RUNNING', message, details);
  }
  if (code === 'ECONNRESET' || code === 'EPIPE') return unanswered(path, details);
  return new VifdError(
    'ERR_QUERY',
    `The vifd at ${path} cannot be asked (${code}): run this as its user.`,
    details,
  );
}

/** The connection was closed at once: libuv does so with what it cannot accept, and vifd with what is more than it serves. */
function unanswered(path: string, details: VifdErrorDetails = {}): VifdError {
  const message =
    `The vifd at ${path} closed the connection without an answer, as it does while it has no file descriptor left (EMFILE: ` +
    `${hostRemedy('EMFILE')}), or while ${CONNECTIONS_MAX} others ask: ask again.`;
  return new VifdError('ERR_QUERY', message, details);
}
