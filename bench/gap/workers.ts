import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { BRIDGE, type BridgedWorld } from '../../worlds/processes/bridged-world.js';
import { parseEvent } from '../../worlds/processes/children.js';
import { until } from '../../worlds/processes/until.js';
import { bareStartMs, plain } from './processes.js';

/** When frames came, by `performance.now`. */
export interface Arrivals {
  host: number[];
  guest: number[];
}

export interface WorkerGaps {
  /** From SIGKILL of a worker to the first frame that the next one carries. */
  readonly fromGuestMs: number[];
  readonly toGuestMs: number[];
  /** Node's own start, measured before each kill. */
  readonly bareStartMs: number[];
}

const GIVE_UP_MS = 20_000;
/** A standby has warmed up by then. */
const REST_MS = 500;
/** The frames of this time before the first of the next worker are those of the one that was killed, which come late. */
const AFTER_MS = 40;

/** Kills the worker of the guest's only vif again and again, while a standby waits. */
export async function measureWorkerGaps(
  machine: BridgedWorld,
  kills: number,
  arrivals: Arrivals,
): Promise<WorkerGaps> {
  const gaps: WorkerGaps = { fromGuestMs: [], toGuestMs: [], bareStartMs: [] };
  for (let kill = 0; kill < kills; ) {
    const vifd = new Supervised(machine);
    // A third death would raise the suspicion that the vif kills its workers.
    let worker = await vifd.servedBy();
    for (const end = Math.min(kill + 2, kills); kill < end; kill++) {
      await sleep(REST_MS * (1 + Math.random()));
      gaps.bareStartMs.push(await bareStartMs());
      arrivals.host = [];
      arrivals.guest = [];
      const killedMs = performance.now();
      process.kill(worker, 'SIGKILL');
      worker = await vifd.servedBy();
      await sleep(AFTER_MS);
      gaps.fromGuestMs.push(afterSilence(arrivals.host, killedMs) - killedMs);
      gaps.toGuestMs.push(afterSilence(arrivals.guest, killedMs) - killedMs);
    }
    await vifd.stop();
  }
  return gaps;
}

/** A `vifd run --workers 1`. */
class Supervised {
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  readonly #attached: number[] = [];
  #started = 0;
  #seen = 0;
  #stderr = '';
  #rest = '';

  constructor(machine: BridgedWorld) {
    const args = machine.vifdRun(['--bridge', BRIDGE.name, '--workers', '1', '--json']);
    const child = spawn(process.execPath, args, {
      env: plain(machine.environment(0)),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    this.#ended = once(child, 'exit');
    child.stdout.setEncoding('utf8').on('data', (text: string) => this.#read(text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
  }

  /** Resolves with the process that serves the vif, when that is another one than before and a standby is there. */
  async servedBy(): Promise<number> {
    const wanted = ++this.#seen;
    const holds = () => this.#attached.length >= wanted && this.#started > wanted;
    if (!(await until(holds, GIVE_UP_MS)))
      throw new Error(`no next worker within ${GIVE_UP_MS / 1000} s: ${this.#stderr}`);
    return this.#attached[wanted - 1];
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGTERM');
    await this.#ended;
  }

  #read(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() as string;
    for (const line of lines) {
      const event = parseEvent(line);
      if (event?.event === 'worker-started') this.#started++;
      if (event?.event === 'attached') this.#attached.push(Number(event.worker));
    }
  }
}

/** Returns the end of the longest silence: frames that the killed worker had sent come before it. */
function afterSilence(times: readonly number[], sinceMs: number): number {
  let end = sinceMs;
  let longestMs = 0;
  for (const [index, time] of times.entries()) {
    const silenceMs = time - (times[index - 1] ?? sinceMs);
    if (silenceMs <= longestMs) continue;
    longestMs = silenceMs;
    end = time;
  }
  return end;
}
