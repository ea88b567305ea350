import { addon, errnoName } from '../addon.js';
import { Backoff } from '../backoff.js';
import { hostRemedy, VifdError } from '../errors.js';
import { printable } from '../text.js';
import type { Clock } from '../xen/seam.js';

export interface ServiceManagerParts {
  readonly clock: Clock;
  /** Nothing can be sent, or not for another reason than before. */
  readonly onError: (error: VifdError) => void;
  /** What could not be sent has been sent. */
  readonly onMended: (error: VifdError) => void;
}

interface Word {
  readonly text: string;
  readonly descriptor?: number | undefined;
}

/** What sd_notify(3) says to systemd, or to whoever else made the socket. */
export class ServiceManager {
  readonly #socket: string;
  readonly #parts: ServiceManagerParts;
  readonly #retry: Backoff;
  /** What could not be sent; a later word about the same thing takes an earlier one's place. */
  readonly #unsent = new Map<string, Word>();
  #watchdog: NodeJS.Timeout | undefined;
  #failed: VifdError | undefined;
  /** The manager is to be told that vifd is ready. */
  #ready = false;
  #state: Word = { text: 'STATUS=starting' };

  private constructor(socket: string, parts: ServiceManagerParts) {
    this.#socket = socket;
    this.#parts = parts;
    this.#retry = new Backoff(parts.clock, () => this.#sendAgain());
  }

  /**
   * The manager that NOTIFY_SOCKET names: a path, or '@' and an abstract name. Undefined where there is none.
   * What cannot be sent is sent again, at most a second apart.
   */
  static find(parts: ServiceManagerParts, env: NodeJS.ProcessEnv = process.env): ServiceManager | undefined {
    const socket = env.NOTIFY_SOCKET;
    if (!socket) return undefined;
    const manager = new ServiceManager(socket, parts);
    // Another process's, if the environment was handed on.
    if ((env.WATCHDOG_PID ?? `${process.pid}`) === `${process.pid}`)
      manager.#feedWatchdog(Number(env.WATCHDOG_USEC ?? 0) / 1000);
    return manager;
  }

  ready(status: string): void {
    this.#ready = true;
    this.#tell(status);
  }

  /** Asks for a descriptor to be kept over restarts: the next life finds it by `inheritedDescriptors`. */
  keep(name: string, descriptor: number): void {
    this.#send(name, { text: `FDSTORE=1\nFDNAME=${name}`, descriptor });
  }

  /** What is kept under this name is of no use any more. */
  forget(name: string): void {
    this.#send(name, { text: `FDSTOREREMOVE=1\nFDNAME=${name}` });
  }

  status(status: string): void {
    this.#tell(status);
  }

  stopping(status: string): void {
    clearInterval(this.#watchdog);
    this.#send(STATE, { text: `STOPPING=1\n${statusOf(status)}` });
    this.#retry.cancel();
  }

  /** From the event loop, so that a loop that hangs is noticed; twice a period, as sd_watchdog_enabled(3) advises. */
  #feedWatchdog(periodMs: number): void {
    if (!(periodMs > 0)) return;
    this.#watchdog = setInterval(() => this.#send(WATCHDOG, { text: 'WATCHDOG=1' }), periodMs / 2).unref();
  }

  #tell(status: string): void {
    this.#state = { text: `${this.#ready ? 'READY=1\n' : ''}${statusOf(status)}` };
    this.#send(STATE, this.#state);
    // Sent with every status until it has arrived: a status that takes a lost word's place must not drop it.
    if (!this.#unsent.has(STATE)) this.#ready = false;
  }

  #send(about: string, word: Word): void {
    const status = addon().sendDatagram(this.#socket, word.text, word.descriptor);
    this.#unsent.delete(about);
    if (status < 0) {
      // A descriptor may be another file's by then: it is not sent again, and what is wrong ends with the next word.
      if (word.descriptor === undefined) this.#unsent.set(about, word);
      else this.#unsent.set(STATE, this.#state);
      this.#fail(errnoName(status));
    } else if (this.#unsent.size === 0) this.#succeed();
  }

  #sendAgain(): void {
    for (const [about, word] of [...this.#unsent]) this.#send(about, word);
  }

  #fail(errno: string): void {
    this.#retry.again();
    const remedy = ABSENT.has(errno)
      ? 'Start the manager again, or unset NOTIFY_SOCKET where there is none'
      : `To mend this, ${hostRemedy(errno)}`;
    const message =
      `The service manager's socket ${this.#socket} cannot be written to (${errno}): the manager may believe that vifd has ` +
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

/** What a word is about, besides the names of descriptors. */
const STATE = '=state';
const WATCHDOG = '=watchdog';

/** No manager listens there. */
const ABSENT: ReadonlySet<string> = new Set([
  'ENOENT',
  'ENOTDIR',
  'ECONNREFUSED',
  'ECONNRESET',
  'EINVAL',
  'ENAMETOOLONG',
]);

const STATUS_MAX = 500;

/** One line: another would be an assignment of its own. */
function statusOf(text: string): string {
  const line = printable(text);
  return `STATUS=${line.length <= STATUS_MAX ? line : `${line.slice(0, STATUS_MAX)}…`}`;
}

/** SD_LISTEN_FDS_START. */
const FIRST_INHERITED = 3;

/**
 * The descriptors that a service manager kept for us, by the names that they were given (sd_listen_fds_with_names(3)).
 * Of several of one name the last is given. Forgotten in the environment, since children do not have them.
 */
export function inheritedDescriptors(env: NodeJS.ProcessEnv = process.env): Map<string, number> {
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES } = env;
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete env[name];
  const descriptors = new Map<string, number>();
  if (LISTEN_PID !== `${process.pid}`) return descriptors;
  const names = (LISTEN_FDNAMES ?? '').split(':');
  for (let i = 0; i < Number(LISTEN_FDS) && i < names.length; i++)
    descriptors.set(names[i], FIRST_INHERITED + i);
  return descriptors;
}
