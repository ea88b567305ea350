import { printable } from '../text.js';
import type { NotifySocket } from './notify-socket.js';

const WATCHDOG = '=watchdog';

/** What a service manager gets to know of vifd by sd_notify(3): that it is ready, its status, that its event loop runs, and its end. */
export class ServiceManager {
  readonly #socket: NotifySocket;
  #watchdog: NodeJS.Timeout | undefined;
  /** The manager is to be told that vifd is ready. */
  #ready = false;

  /** @param env has the watchdog's period (sd_watchdog_enabled(3)). */
  constructor(socket: NotifySocket, env: NodeJS.ProcessEnv = process.env) {
    this.#socket = socket;
    // Another process's, if the environment was handed on.
    if ((env.WATCHDOG_PID ?? `${process.pid}`) === `${process.pid}`)
      this.#feedWatchdog(Number(env.WATCHDOG_USEC ?? 0) / 1000);
  }

  ready(status: string): void {
    this.#ready = true;
    this.#tell(status);
  }

  status(status: string): void {
    this.#tell(status);
  }

  stopping(status: string): void {
    clearInterval(this.#watchdog);
    this.#socket.end(`STOPPING=1\n${statusOf(status)}`);
  }

  /** From the event loop, so that a loop that hangs is noticed; twice a period, as sd_watchdog_enabled(3) advises. */
  #feedWatchdog(periodMs: number): void {
    if (!(periodMs > 0)) return;
    this.#watchdog = setInterval(() => this.#socket.send(WATCHDOG, 'WATCHDOG=1'), periodMs / 2).unref();
  }

  #tell(status: string): void {
    const sent = this.#socket.sendState(`${this.#ready ? 'READY=1\n' : ''}${statusOf(status)}`);
    // Sent with every status until it has arrived: a status that takes an unsent one's place must not drop it.
    if (sent) this.#ready = false;
  }
}

const STATUS_MAX = 500;

/** One line: another would be an assignment of its own. */
function statusOf(text: string): string {
  const line = printable(text);
  return `STATUS=${line.length <= STATUS_MAX ? line : `${line.slice(0, STATUS_MAX)}…`}`;
}
