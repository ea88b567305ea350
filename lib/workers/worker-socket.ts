import { closeSync, lstatSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { addon, errnoName } from '../addon.js';
import { hostRemedy, VifdError } from '../errors.js';

/** Datagrams that one turn of the event loop reads. */
const BATCH = 4;
const LINK = 'link';

export interface WorkerSocketParts {
  /** Called with a worker's end of a new link, which is the callee's. */
  readonly onLink: (descriptor: number) => void;
  /** Called with ERR_WORKER when a datagram is refused, or when receiving fails. */
  readonly onError: (error: VifdError) => void;
}

/**
 * The unix socket `worker-<pid>` in the runtime directory by which a worker gets a link to a supervisor that has not started it: a supervisor
 * makes a connection, and sends one end of it in a datagram (`linkTo`). Only vifd's user can enter the directory.
 */
export class WorkerSocket implements Disposable {
  readonly #path: string;
  readonly #parts: WorkerSocketParts;
  readonly #fd: number;
  readonly #inode: number | undefined;
  readonly #stop: () => void;
  readonly #bytes = new Uint8Array(LINK.length);

  /** @throws VifdError ERR_WORKER, with the errno, if the socket cannot be created. */
  constructor(directory: string, pid: number, parts: WorkerSocketParts) {
    const path = pathOf(directory, pid);
    this.#path = path;
    this.#parts = parts;
    // One of an earlier process with this id.
    rmSync(path, { force: true });
    // The call creates the socket with this umask, so that no other user may write at any time.
    const mask = process.umask(0o177);
    const fd = addon().bindDatagrams(path);
    process.umask(mask);
    if (fd < 0) throw unusable(path, 'cannot be made', fd);
    const stop = addon().watch(fd, () => this.#receive());
    if (typeof stop === 'number') {
      closeSync(fd);
      rmSync(path, { force: true });
      throw unusable(path, 'cannot be polled', stop);
    }
    this.#fd = fd;
    this.#inode = inodeOf(path);
    this.#stop = stop;
  }

  /** False once the socket was deleted or replaced, so that no supervisor finds this worker by it. */
  get stands(): boolean {
    return this.#inode !== undefined && inodeOf(this.#path) === this.#inode;
  }

  [Symbol.dispose](): void {
    this.#stop();
    closeSync(this.#fd);
    rmSync(this.#path, { force: true });
  }

  #receive(): void {
    for (let i = 0; i < BATCH; i++) {
      const message = addon().receiveMessage(this.#fd, this.#bytes, 1);
      if (typeof message === 'number') {
        if (errnoName(message) === 'EAGAIN') return;
        this.#parts.onError(unusable(this.#path, 'received a datagram that is refused', message));
        continue;
      }
      const [descriptor] = message.descriptors;
      if (descriptor !== undefined) this.#parts.onLink(descriptor);
      else
        this.#parts.onError(
          new VifdError('ERR_WORKER', `A datagram without a descriptor came to ${this.#path}.`),
        );
    }
  }
}

/**
 * Returns the ids of the processes whose sockets are in a runtime directory. Some may have ended.
 * @throws VifdError ERR_WORKER, with the errno, if the directory cannot be read.
 */
export function workersIn(directory: string): number[] {
  return filesIn(directory).flatMap((name) => {
    const pid = /^worker-([1-9][0-9]{0,9})$/.exec(name)?.[1];
    return pid === undefined ? [] : [Number(pid)];
  });
}

/**
 * Makes a link to a worker. The worker's first message on it is 'hello'; its link to another supervisor ends.
 * @returns the supervisor's end; undefined if the worker has ended: then its socket is removed.
 * @throws VifdError ERR_WORKER, with the errno.
 */
export function linkTo(directory: string, pid: number): number | undefined {
  const path = pathOf(directory, pid);
  const pair = addon().socketPair();
  if (typeof pair === 'number') throw unusable(path, 'cannot be used', pair);
  const [own, theirs] = pair;
  const error = addon().sendDatagram(path, LINK, theirs);
  closeSync(theirs);
  if (error >= 0) return own;
  closeSync(own);
  const errno = errnoName(error);
  if (errno !== 'ECONNREFUSED' && errno !== 'ENOENT') throw unusable(path, 'cannot be written', error);
  removeSocket(directory, pid);
  return undefined;
}

/** Removes the socket of a process that is gone: one that was killed has left it. */
export function removeSocket(directory: string, pid: number): void {
  rmSync(pathOf(directory, pid), { force: true });
}

function filesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (cause) {
    const { code: errno = 'EIO' } = cause as NodeJS.ErrnoException;
    const message = `Workers cannot be looked for in ${directory} (${errno}): ${hostRemedy(errno)}.`;
    throw new VifdError('ERR_WORKER', message, { errno, cause });
  }
}

function inodeOf(path: string): number | undefined {
  return lstatSync(path, { throwIfNoEntry: false })?.ino;
}

function pathOf(directory: string, pid: number): string {
  return join(directory, `worker-${pid}`);
}

function unusable(path: string, what: string, error: number): VifdError {
  const errno = errnoName(error);
  const message = `The socket ${path} ${what} (${errno}): ${hostRemedy(errno)}.`;
  return new VifdError('ERR_WORKER', message, { errno });
}
