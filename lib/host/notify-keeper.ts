import { closeSync, rmSync } from 'node:fs';
import { addon, errnoName, type ReceivedMessage } from '../addon.js';
import { hostRemedy, VifdError } from '../errors.js';
import { quoted } from '../text.js';
import type { LocalKeeper } from './local-keeper.js';

/** Of a datagram; sd_notify's are short. */
const BYTES_MAX = 4096;
/** Datagrams that are taken before the event loop goes on; the rest follows. */
const BATCH = 64;
/** A tap's descriptors (`vif7.0`, `vif7.0.q1`) of as many vifs as a process may serve. */
const NAMES_MAX = 4096;
/** Of a datagram that was consumed: the next one may be better. */
const REFUSED: ReadonlySet<string> = new Set(['EMSGSIZE', 'E2BIG']);
/** As LISTEN_FDNAMES can hold it, which is divided by colons. */
const NAME = /^[!-9;-~]{1,64}$/;

export interface NotifyKeeperParts {
  /** Gets what is sent to be kept. */
  readonly kept: LocalKeeper;
  /** Called with the assignments of a datagram that is about no descriptor: READY, STATUS, WATCHDOG, STOPPING. */
  readonly onAssignments: (assignments: ReadonlyMap<string, string>) => void;
  /** Called with ERR_STATE when a datagram is refused, or nothing can be received. */
  readonly onError: (error: VifdError) => void;
}

/**
 * The other end of `SystemdKeeper`: what the service manager does for `vifd run`, in a process that goes on. Who can write to its socket
 * can replace what is kept: it belongs into a directory of its own user.
 */
export class NotifyKeeper implements Disposable {
  readonly #path: string;
  readonly #parts: NotifyKeeperParts;
  readonly #fd: number;
  readonly #stop: () => void;
  readonly #bytes = new Uint8Array(BYTES_MAX);

  /**
   * @param path where the socket is made, in the place of an earlier one; '@' first: in the abstract namespace. For NOTIFY_SOCKET.
   * @throws VifdError ERR_STATE, with the errno, when it cannot be made.
   */
  constructor(path: string, parts: NotifyKeeperParts) {
    if (!path.startsWith('@')) rmSync(path, { force: true });
    this.#path = path;
    this.#parts = parts;
    this.#fd = addon().bindDatagrams(path);
    if (this.#fd < 0) throw this.#failure('cannot be made', this.#fd);
    const stop = addon().watch(this.#fd, () => this.#receive());
    if (typeof stop === 'number') {
      closeSync(this.#fd);
      throw this.#failure('cannot be polled', stop);
    }
    this.#stop = stop;
  }

  /** What is kept stays kept. */
  [Symbol.dispose](): void {
    this.#stop();
    closeSync(this.#fd);
    if (!this.#path.startsWith('@')) rmSync(this.#path, { force: true });
  }

  #receive(): void {
    for (let i = 0; i < BATCH; i++) {
      const message = addon().receiveMessage(this.#fd, this.#bytes, 1);
      if (typeof message !== 'number') this.#take(message);
      else {
        const errno = errnoName(message);
        if (errno === 'EAGAIN') return;
        this.#parts.onError(this.#failure('received a datagram that is refused', message));
        if (!REFUSED.has(errno)) return;
      }
    }
  }

  #take({ bytes, descriptors }: ReceivedMessage): void {
    const text = Buffer.from(this.#bytes.subarray(0, bytes)).toString();
    const assignments = new Map(text.split('\n').map(assignmentOf));
    const name = assignments.get('FDNAME') ?? '';
    const [descriptor] = descriptors;
    if (assignments.get('FDSTORE') === '1') this.#keep(name, descriptor);
    else {
      if (descriptor !== undefined) closeSync(descriptor);
      if (assignments.get('FDSTOREREMOVE') === '1') this.#parts.kept.forget(name);
      else this.#parts.onAssignments(assignments);
    }
  }

  #keep(name: string, descriptor: number | undefined): void {
    const { kept } = this.#parts;
    const hasRoom = kept.get(name) !== undefined || kept.names.length < NAMES_MAX;
    if (descriptor !== undefined && NAME.test(name) && hasRoom) {
      kept.own(name, descriptor);
      return;
    }
    if (descriptor !== undefined) closeSync(descriptor);
    const why = descriptor === undefined ? 'it has none' : hasRoom ? 'its name' : `${NAMES_MAX} are kept`;
    const message = `A descriptor that was sent to ${this.#path} as ${quoted(name, 64)} is not kept: ${why}.`;
    this.#parts.onError(new VifdError('ERR_STATE', message));
  }

  #failure(what: string, error: number): VifdError {
    const errno = errnoName(error);
    const message = `The socket ${this.#path} ${what} (${errno}): ${hostRemedy(errno)}.`;
    return new VifdError('ERR_STATE', message, { errno });
  }
}

function assignmentOf(line: string): [string, string] {
  const at = line.indexOf('=');
  return at < 0 ? [line, ''] : [line.slice(0, at), line.slice(at + 1)];
}

/** How a program is started. */
export interface Start {
  readonly command: readonly string[];
  /** To be added to its environment. */
  readonly env: Readonly<Record<string, string>>;
  /** What its descriptors from 3 on are, as the last elements of `stdio` in node:child_process. */
  readonly descriptors: readonly number[];
}

/** Has a program find what is kept by `inheritedDescriptors` (sd_listen_fds_with_names(3)). */
export function inheriting(kept: LocalKeeper, command: readonly string[]): Start {
  const { names } = kept;
  const descriptors = names.map((name) => kept.get(name) as number);
  const env = { LISTEN_FDS: `${names.length}`, LISTEN_FDNAMES: names.join(':') };
  // Only the program itself knows its process: the shell, in whose place it comes.
  return { command: ['sh', '-c', 'LISTEN_PID=$$ exec "$@"', 'sh', ...command], env, descriptors };
}
