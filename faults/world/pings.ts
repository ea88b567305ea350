import { Child, GUARD } from '../../worlds/processes/children.js';

/** How often a ping is sent (ms). */
export const PING_EVERY_MS = 50;

export interface Ping {
  readonly sentMs: number;
  /** Undefined: no reply yet. */
  rttMs: number | undefined;
}

export interface Interval {
  readonly fromMs: number;
  readonly toMs: number;
}

export interface PingVerdict {
  readonly sent: number;
  readonly lost: number;
  readonly worstMs: number;
}

/** ping(8) at one guest, from the host, all the time. Times are Date.now's. */
export class Pings implements AsyncDisposable {
  readonly #pings = new Map<number, Ping>();
  readonly #waiting = new Set<() => void>();
  #child: Child | undefined;

  static async start(address: string): Promise<Pings> {
    const pings = new Pings();
    pings.#child = await Child.start({
      name: `ping ${address}`,
      command: [
        ...GUARD,
        ...['stdbuf', '-oL', 'ping', '-n', '-D', '-O', '-i', String(PING_EVERY_MS / 1000), address],
      ],
      onLine: (line) => pings.#read(line),
    });
    return pings;
  }

  /** Resolves with the first moment at or after `fromMs` when a ping was sent that got its reply; undefined if too late. */
  async servedAfter(fromMs: number, withinMs: number): Promise<number | undefined> {
    const deadline = Date.now() + withinMs;
    for (;;) {
      const found = this.#since(fromMs).find(({ rttMs }) => rttMs !== undefined);
      if (found !== undefined) return found.sentMs + (found.rttMs as number);
      const left = deadline - Date.now();
      if (left <= 0) return undefined;
      await this.#change(left);
    }
  }

  /** Returns the results of the pings that were sent in this time, and in none of `but`. The last ones may still wait for replies. */
  between(fromMs: number, toMs: number, but: readonly Interval[] = []): PingVerdict {
    const sent = this.#since(fromMs).filter(
      ({ sentMs }) =>
        sentMs <= toMs && !but.some((one) => sentMs >= one.fromMs - PING_EVERY_MS && sentMs <= one.toMs),
    );
    const lost = sent.filter(({ rttMs }) => rttMs === undefined).length;
    return { sent: sent.length, lost, worstMs: Math.max(0, ...sent.map(({ rttMs }) => rttMs ?? 0)) };
  }

  /** Forgets earlier pings, which are not needed any more. */
  forget(beforeMs: number): void {
    for (const [seq, { sentMs }] of this.#pings) if (sentMs < beforeMs) this.#pings.delete(seq);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child?.end('SIGKILL');
  }

  #since(fromMs: number): Ping[] {
    return [...this.#pings.values()].filter(({ sentMs }) => sentMs >= fromMs);
  }

  /** iputils: `[STAMP] 64 bytes from …: icmp_seq=7 ttl=64 time=0.42 ms`, and with -O `[STAMP] no answer yet for icmp_seq=7`. */
  #read(line: string): void {
    const [, stamp, seqText, rtt] =
      /^\[([\d.]+)\] (?:no answer yet for|\d+ bytes from .*:) icmp_seq=(\d+)(?:.* time=([\d.]+) ms)?/.exec(
        line,
      ) ?? [];
    if (stamp === undefined) return;
    const atMs = Number(stamp) * 1000;
    const seq = Number(seqText);
    const known = this.#pings.get(seq);
    if (rtt === undefined) this.#pings.set(seq, { sentMs: atMs - PING_EVERY_MS, rttMs: undefined });
    else if (known === undefined) this.#pings.set(seq, { sentMs: atMs - Number(rtt), rttMs: Number(rtt) });
    else known.rttMs = Number(rtt);
    for (const wake of [...this.#waiting]) wake();
  }

  #change(withinMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(done, withinMs);
      const waiting = this.#waiting;
      function done(): void {
        clearTimeout(timer);
        waiting.delete(done);
        resolve();
      }
      waiting.add(done);
    });
  }
}
