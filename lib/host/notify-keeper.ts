import { closeSync, rmSync } from 'node:fs';
import { addon, errnoName, type ReceivedMessage } from '../addon.js';
import { hostRemedy, VifdError } from '../errors.js';
import { quoted } from '../text.js';
import type { LocalKeeper } from './local-keeper.js';

/** The longest datagram that is read; those of sd_notify are short. */
const BYTES_MAX = 4096;
/** Datagrams that one turn of the event loop reads; the others wait for the next turn. */
const BATCH = 64;
/** The most names: those of the taps' descriptors (`vif7.0`, `vif7.0.q1`) of as many vifs as a process may serve. */
const NAMES_MAX = 4096;
/** Errnos after which the datagram is consumed and the next one can be read. */
const REFUSED: ReadonlySet<string> = new Set(['EMSGSIZE', 'E2BIG']);
/** Names that LISTEN_FDNAMES, which is divided by colons, can contain. */
const NAME = /^[!-9;-~]{1,64}$/;

export interface NotifyKeeperParts {
  /** Stores the descriptors that arrive. */
  readonly kept: LocalKeeper;
  /** Called with the assignments of a datagram that is about no descriptor: READY, STATUS, WATCHDOG, STOPPING. */
  readonly onAssignments: (assignments: ReadonlyMap<string, string>) => void;
  /** Called with ERR_STATE when a datagram is refused, or when receiving fails. */
  readonly onError: (error: VifdError) => void;
}

/**
 * The other end of `SystemdKeeper`: does what the service manager does for `vifd run`, in a process that outlives it. A user who can write
 * to the socket can replace stored descriptors, so the socket belongs into a directory that only its own user can enter.
 */
export class NotifyKeeper implements Disposable {
  readonly #path: string;
  readonly #parts: NotifyKeeperParts;
  readonly #fd: number;
  readonly #stop: () => void;
  readonly #bytes = new Uint8Array(BYTES_MAX);

  /**
   * @param path of the socket, for NOTIFY_SOCKET; an earlier socket there is replaced. With a leading '@' it is an abstract name.
   * @throws VifdError ERR_STATE, with the errno, if the socket cannot be created.
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

  /** Closes the socket. The stored descriptors stay open. */
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
    const why =
      descriptor === undefined
        ? 'the datagram has no descriptor'
        : hasRoom
          ? 'the name is invalid'
          : `${NAMES_MAX} are stored already`;
    const message = `A descriptor that was sent to ${this.#path} as ${quoted(name, 64)} is not stored: ${why}.`;
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

/** Returns how to start a program so that its `inheritedDescriptors` finds the stored descriptors (sd_listen_fds_with_names(3)). */
export function inheriting(kept: LocalKeeper, command: readonly string[]): Start {
  const { names } = kept;
  const descriptors = names.map((name) => kept.get(name) as number);
  const env = { LISTEN_FDS: `${names.length}`, LISTEN_FDNAMES: names.join(':') };
  // Only the started process knows its own id: a shell sets LISTEN_PID and then executes the program.
  return { command: ['sh', '-c', 'LISTEN_PID=$$ exec "$@"', 'sh', ...command], env, descriptors };
}
