import { addon, errnoName } from '../addon.js';
import { Backoff } from '../backoff.js';
import { hostRemedy, VifdError } from '../errors.js';
import type { Clock } from '../xen/seam.js';

export interface NotifySocketParts {
  readonly clock: Clock;
  /** Called when nothing can be sent, and again when the reason changes. */
  readonly onError: (error: VifdError) => void;
  /** Called when all texts that failed before have been sent. */
  readonly onMended: (error: VifdError) => void;
}

interface Assignments {
  readonly text: string;
  readonly descriptor?: number | undefined;
}

/** The key of the state among the unsent texts; the other keys are names of descriptors. */
const STATE = '=state';

/**
 * The socket of sd_notify(3) that systemd or another service manager has created. Each datagram has assignments, one a line. Texts that
 * cannot be sent are sent again, with pauses of at most a second.
 */
export class NotifySocket {
  readonly #path: string;
  readonly #parts: NotifySocketParts;
  readonly #retry: Backoff;
  /** Texts that could not be sent. A later text about the same thing replaces an earlier one. */
  readonly #unsent = new Map<string, Assignments>();
  #failed: VifdError | undefined;
  #state: Assignments = { text: 'STATUS=starting' };

  private constructor(path: string, parts: NotifySocketParts) {
    this.#path = path;
    this.#parts = parts;
    this.#retry = new Backoff(parts.clock, () => this.#sendAgain());
  }

  /** Returns the socket that NOTIFY_SOCKET names: a path, or '@' and an abstract name. Undefined if the variable is not set. */
  static find(parts: NotifySocketParts, env: NodeJS.ProcessEnv = process.env): NotifySocket | undefined {
    const path = env.NOTIFY_SOCKET;
    return path ? new NotifySocket(path, parts) : undefined;
  }

  /**
   * Sends the state of vifd. After a failure, the state is also the text that tests whether the socket works again.
   * @returns whether the text was sent.
   */
  sendState(text: string): boolean {
    this.#state = { text };
    return this.#send(STATE, this.#state);
  }

  /**
   * @param about the key of the text: an unsent text of the same key is replaced.
   * @param descriptor sent as a duplicate; it stays the caller's. After a failure it is not sent again, because its number may mean another
   *   file by then.
   */
  send(about: string, text: string, descriptor?: number): void {
    this.#send(about, { text, descriptor });
  }

  /** Sends the last state, and gives up on texts that cannot be sent. */
  end(text: string): void {
    this.#send(STATE, { text });
    this.#retry.cancel();
  }

  #send(about: string, what: Assignments): boolean {
    const status = addon().sendDatagram(this.#path, what.text, what.descriptor);
    this.#unsent.delete(about);
    if (status < 0) {
      // The state is sent in place of a descriptor, so that the failure ends when the socket works again.
      if (what.descriptor === undefined) this.#unsent.set(about, what);
      else this.#unsent.set(STATE, this.#state);
      this.#fail(errnoName(status));
    } else if (this.#unsent.size === 0) this.#succeed();
    return status >= 0;
  }

  #sendAgain(): void {
    for (const [about, what] of [...this.#unsent]) this.#send(about, what);
  }

  #fail(errno: string): void {
    this.#retry.again();
    const remedy = ABSENT.has(errno)
      ? 'Start the manager again, or unset NOTIFY_SOCKET where there is none'
      : `To mend this, ${hostRemedy(errno)}`;
    const message =
      `The service manager's socket ${this.#path} cannot be written to (${errno}): the manager may believe that vifd has ` +
      `not started, or hangs. ${remedy}; vifd tries again.`;
    if (message === this.#failed?.message) return;
    this.#failed = new VifdError('ERR_SERVICE_MANAGER', message, { errno });
    this.#parts.onError(this.#failed);
  }

  #succeed(): void {
    this.#retry.reset();
    const failed = this.#failed;
    this.#failed = undefined;
    if (failed !== undefined) this.#parts.onMended(failed);
  }
}

/** Errnos that mean that no manager listens at the socket. */
const ABSENT: ReadonlySet<string> = new Set([
  'ENOENT',
  'ENOTDIR',
  'ECONNREFUSED',
  'ECONNRESET',
  'EINVAL',
  'ENAMETOOLONG',
]);
