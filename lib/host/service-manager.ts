import { printable } from '../text.js';
import type { NotifySocket } from './notify-socket.js';

const WATCHDOG = '=watchdog';

/** Reports to a service manager by sd_notify(3): that vifd is ready, its status, that its event loop runs, and its end. */
export class ServiceManager {
  readonly #socket: NotifySocket;
  #watchdog: NodeJS.Timeout | undefined;
  /** Whether the report that vifd is ready is still to be sent. */
  #ready = false;

  /** @param env has the watchdog's period (sd_watchdog_enabled(3)). */
  constructor(socket: NotifySocket, env: NodeJS.ProcessEnv = process.env) {
    this.#socket = socket;
    // The watchdog's period is meant for another process if the environment was inherited.
    if ((env.WATCHDOG_PID ?? `${process.pid}`) === `${process.pid}`)
      this.#feedWatchdog(Number(env.WATCHDOG_USEC ?? 0) / 1000);
  }

  ready(status: string): void {
    this.#ready = true;
    this.#send(status);
  }

  status(status: string): void {
    this.#send(status);
  }

  stopping(status: string): void {
    clearInterval(this.#watchdog);
    this.#socket.end(`STOPPING=1\n${statusOf(status)}`);
  }

  /**
   * Sends WATCHDOG=1 from the event loop, so that the manager notices a loop that hangs; twice a period, as sd_watchdog_enabled(3) advises.
   */
  #feedWatchdog(periodMs: number): void {
    if (!(periodMs > 0)) return;
    this.#watchdog = setInterval(() => this.#socket.send(WATCHDOG, 'WATCHDOG=1'), periodMs / 2).unref();
  }

  #send(status: string): void {
    const sent = this.#socket.sendState(`${this.#ready ? 'READY=1\n' : ''}${statusOf(status)}`);
    // READY=1 goes with every status until one was sent, because a later status replaces an unsent one.
    if (sent) this.#ready = false;
  }
}

const STATUS_MAX = 500;

/** Returns the assignment of a status in one line: a second line would be another assignment. */
function statusOf(text: string): string {
  const line = printable(text);
  return `STATUS=${line.length <= STATUS_MAX ? line : `${line.slice(0, STATUS_MAX)}…`}`;
}
