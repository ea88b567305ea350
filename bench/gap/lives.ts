import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { BRIDGE, type BridgedWorld } from '../../worlds/processes/bridged-world.js';

const BARE_PROGRAM = fileURLToPath(new URL('bare.cjs', import.meta.url));
const GIVE_UP_MS = 20_000;

/** One `vifd run` after the other, as a supervisor has them: a life is begun when the end of the last is known. */
export class Lives {
  readonly #machine: BridgedWorld;
  #life: ChildProcess | undefined;
  #said = '';

  constructor(machine: BridgedWorld) {
    this.#machine = machine;
  }

  begin(payload: string): void {
    const args = this.#machine.vifdRun(['--bridge', BRIDGE.name, '--payload', payload]);
    const env = this.#machine.environment(0);
    this.#said = '';
    const life = spawn(process.execPath, args, { env: plain(env), stdio: ['ignore', 'ignore', 'pipe'] });
    life.stderr.on('data', (text) => {
      this.#said += text;
    });
    this.#life = life;
  }

  /** Resolves when the process is gone. @returns when the signal was sent, by `performance.now`. */
  async kill(signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<number> {
    const life = this.#life;
    if (life === undefined || life.exitCode !== null) throw new Error(`vifd ended by itself: ${this.#said}`);
    const gone = once(life, 'exit');
    const atMs = performance.now();
    life.kill(signal);
    await gone;
    return atMs;
  }

  /** Waits until it is so. @throws with what vifd said when that takes too long. */
  async until(isSo: () => boolean): Promise<void> {
    const endMs = performance.now() + GIVE_UP_MS;
    while (!isSo()) {
      if (performance.now() > endMs) throw new Error(`no frame in ${GIVE_UP_MS / 1000} s: ${this.#said}`);
      await sleep(2);
    }
  }
}

/** How long Node itself takes, from its start to the first byte of a program of one line. */
export async function bareStartMs(): Promise<number> {
  const beganMs = performance.now();
  const child = spawn(process.execPath, [BARE_PROGRAM], {
    env: plain({}),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  await once(child.stdout, 'data');
  const ms = performance.now() - beganMs;
  await ended;
  return ms;
}

/** How long Node itself takes from SIGTERM to its end, with a program that waits for nothing but the signal. */
export async function bareEndMs(): Promise<number> {
  const child = spawn(process.execPath, [BARE_PROGRAM, 'wait'], {
    env: plain({}),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  await once(child.stdout, 'data');
  // As long as a process of vifd has to settle.
  await sleep(100);
  const beganMs = performance.now();
  child.kill('SIGTERM');
  await ended;
  return performance.now() - beganMs;
}

/** Without what makes every Node read certificates: 40 to 250 ms that a service does not have. */
function plain(more: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { NODE_EXTRA_CA_CERTS: _, ...environment } = process.env;
  return { ...environment, ...more };
}
