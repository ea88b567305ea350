import assert from 'node:assert/strict';
import { createConnection, type Socket } from 'node:net';
import type { Guest } from './guest.js';
import { must, run, sleep } from './process.js';

/** Servers in the guest: iperf3's, and one that echoes, with a process for each connection. */
export async function serve(guest: Guest): Promise<void> {
  await guest.exec(
    'pidof iperf3 >/dev/null || iperf3 -s -D; pidof nc >/dev/null || nc -ll -p 7 -e cat >/dev/null 2>&1 &',
  );
}

interface IperfReport {
  readonly error?: string;
  readonly end: { readonly sum_received?: { readonly bytes: number; readonly bits_per_second: number } };
}

/** The target of traffic: a guest, by its first or another of its addresses. */
export type Peer = Pick<Guest, 'name' | 'address'>;

/** One TCP stream to or from the guest. @returns Mbit/s received. */
export async function iperf(guest: Peer, seconds: number, direction: 'to' | 'from'): Promise<number> {
  const reverse = direction === 'from' ? ['-R'] : [];
  const { code, output } = await run('iperf3', '-J', '-c', guest.address, '-t', `${seconds}`, ...reverse);
  const report = JSON.parse(output) as IperfReport;
  assert.equal(code, 0, `iperf3 ${direction} ${guest.name}: ${report.error}`);
  return (report.end.sum_received?.bits_per_second ?? 0) / 1e6;
}

export async function ping(guest: Pick<Guest, 'address'>, count = 3): Promise<void> {
  await must('ping', '-c', `${count}`, '-i', '0.2', '-w', '20', guest.address);
}

/** Runs iperf repeatedly, in alternating directions, until it is ended. */
export class IperfLoop implements Disposable {
  readonly rates: { readonly direction: 'to' | 'from'; readonly mbits: number }[] = [];
  #ending = false;
  readonly #work: Promise<void>;

  constructor(guest: Guest, seconds: number) {
    this.#work = this.#loop(guest, seconds);
    // end() reads it.
    this.#work.catch(() => undefined);
  }

  /** Waits for the last run. Rejects if any run failed. */
  end(): Promise<void> {
    this.#ending = true;
    return this.#work;
  }

  /** For tests that have failed: starts no further run. */
  [Symbol.dispose](): void {
    this.#ending = true;
  }

  async #loop(guest: Guest, seconds: number): Promise<void> {
    while (!this.#ending) {
      const direction = this.rates.length % 2 === 0 ? 'to' : 'from';
      this.rates.push({ direction, mbits: await iperf(guest, seconds, direction) });
    }
  }
}

const PERIOD_MS = 100;

/** Acts as a user who types over one TCP connection and waits for the echo of each line. */
export class Session implements Disposable {
  /** When each line came back. */
  readonly echoes: number[] = [];
  sent = 0;
  readonly #socket: Socket;
  #failure: string | undefined;
  #text = '';
  readonly #timer: NodeJS.Timeout;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay().setEncoding('utf8');
    socket.on('data', (chunk) => this.#answer(String(chunk)));
    socket.on('error', (error) => {
      this.#failure = error.message;
    });
    socket.on('close', () => {
      this.#failure ??= 'closed by the guest';
    });
    this.#timer = setInterval(() => {
      socket.write(`${this.sent}\n`);
      this.sent += 1;
    }, PERIOD_MS);
  }

  static open(guest: Pick<Guest, 'address'>): Promise<Session> {
    return new Promise((resolve, reject) => {
      const socket = createConnection({ host: guest.address, port: 7 });
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(new Session(socket));
      });
    });
  }

  /**
   * Ends the session.
   * @param patienceMs how long the last lines may take: after a long silence TCP waits as long again before its next try.
   * @throws if the connection broke before, or a line is missing.
   */
  async end(patienceMs = 30_000): Promise<void> {
    clearInterval(this.#timer);
    const endMs = performance.now() + patienceMs;
    while (this.echoes.length < this.sent && this.#failure === undefined && performance.now() < endMs)
      await sleep(100);
    assert.equal(this.#failure, undefined, 'the interactive session broke');
    assert.equal(this.echoes.length, this.sent, 'lines of the interactive session were lost');
    this[Symbol.dispose]();
  }

  /** Idempotent. */
  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#socket.destroy();
  }

  /** Returns the longest time without an echo that overlaps [from, to]. */
  gapMs(from: number, to: number): number {
    let gap = 0;
    for (let i = 1; i < this.echoes.length; i++) {
      const [before, after] = [this.echoes[i - 1] ?? 0, this.echoes[i] ?? 0];
      if (after > from && before < to) gap = Math.max(gap, after - before);
    }
    return gap;
  }

  #answer(chunk: string): void {
    const lines = (this.#text + chunk).split('\n');
    this.#text = lines.pop() ?? '';
    for (const line of lines) {
      if (Number(line) !== this.echoes.length)
        this.#failure = `line ${this.echoes.length} came back as '${line}'`;
      this.echoes.push(performance.now());
    }
  }
}
