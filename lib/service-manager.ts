import { addon, errnoName } from './addon.js';
import { VifdError } from './errors.js';
import { printable } from './text.js';

/** What sd_notify(3) says to systemd, or to whoever else made the socket. */
export class ServiceManager {
  readonly #socket: string;
  readonly #onError: (error: VifdError) => void;
  readonly #onMended: (error: VifdError) => void;
  #watchdog: NodeJS.Timeout | undefined;
  /** What stands between us and the manager. */
  #fault: VifdError | undefined;

  private constructor(
    socket: string,
    onError: (error: VifdError) => void,
    onMended: (error: VifdError) => void,
  ) {
    this.#socket = socket;
    this.#onError = onError;
    this.#onMended = onMended;
  }

  /**
   * The manager that NOTIFY_SOCKET names: a path, or '@' and an abstract name. Undefined where there is none.
   * @param onError gets the first message that cannot be sent, and no other until one can.
   * @param onMended gets it again when messages can be sent again.
   */
  static find(
    onError: (error: VifdError) => void,
    env: NodeJS.ProcessEnv = process.env,
    onMended: (error: VifdError) => void = () => undefined,
  ): ServiceManager | undefined {
    const socket = env.NOTIFY_SOCKET;
    if (!socket) return undefined;
    const manager = new ServiceManager(socket, onError, onMended);
    // Another process's, if the environment was handed on.
    if ((env.WATCHDOG_PID ?? `${process.pid}`) === `${process.pid}`)
      manager.#feedWatchdog(Number(env.WATCHDOG_USEC ?? 0) / 1000);
    return manager;
  }

  ready(status: string): void {
    this.#tell('READY=1', statusOf(status));
  }

  /** Asks for a descriptor to be kept over restarts: the next life finds it by `inheritedDescriptors`. */
  keep(name: string, descriptor: number): void {
    this.#send(`FDSTORE=1\nFDNAME=${name}`, descriptor);
  }

  /** What is kept under this name is of no use any more. */
  forget(name: string): void {
    this.#send(`FDSTOREREMOVE=1\nFDNAME=${name}`);
  }

  status(status: string): void {
    this.#tell(statusOf(status));
  }

  stopping(status: string): void {
    clearInterval(this.#watchdog);
    this.#tell('STOPPING=1', statusOf(status));
  }

  /** From the event loop, so that a loop that hangs is noticed; twice a period, as sd_watchdog_enabled(3) advises. */
  #feedWatchdog(periodMs: number): void {
    if (!(periodMs > 0)) return;
    this.#watchdog = setInterval(() => this.#tell('WATCHDOG=1'), periodMs / 2).unref();
  }

  #tell(...assignments: string[]): void {
    this.#send(assignments.join('\n'));
  }

  #send(text: string, descriptor?: number): void {
    const status = addon().sendDatagram(this.#socket, text, descriptor);
    if (status >= 0) {
      const fault = this.#fault;
      this.#fault = undefined;
      if (fault !== undefined) this.#onMended(fault);
      return;
    }
    if (this.#fault !== undefined) return;
    const errno = errnoName(status);
    const message =
      `The service manager's socket ${this.#socket} takes no word (${errno}): it may believe that vifd has not ` +
      'started. Unset NOTIFY_SOCKET where there is no manager.';
    this.#fault = new VifdError('ERR_SERVICE_MANAGER', message, { errno });
    this.#onError(this.#fault);
  }
}

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
