import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { BRIDGE, type BridgedWorld } from '../../worlds/processes/bridged-world.js';

const BARE_PROGRAM = fileURLToPath(new URL('bare.cjs', import.meta.url));
const GIVE_UP_MS = 20_000;

/** One `vifd run` after the other, as under a supervisor: a process is started when the end of the previous one is known. */
export class Processes {
  readonly #machine: BridgedWorld;
  #running: ChildProcess | undefined;
  #stderr = '';

  constructor(machine: BridgedWorld) {
    this.#machine = machine;
  }

  begin(payload: string): void {
    const args = this.#machine.vifdRun(['--bridge', BRIDGE.name, '--payload', payload]);
    const env = this.#machine.environment(0);
    this.#stderr = '';
    const child = spawn(process.execPath, args, { env: plain(env), stdio: ['ignore', 'ignore', 'pipe'] });
    child.stderr.on('data', (text) => {
      this.#stderr += text;
    });
    this.#running = child;
  }

  /** Resolves when the process is gone. @returns when the signal was sent, by `performance.now`. */
  async kill(signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<number> {
    const child = this.#running;
    if (child === undefined || child.exitCode !== null)
      throw new Error(`vifd ended by itself: ${this.#stderr}`);
    const gone = once(child, 'exit');
    const atMs = performance.now();
    child.kill(signal);
    await gone;
    return atMs;
  }

  /** Waits for a condition. @throws with vifd's stderr after GIVE_UP_MS. */
  async until(isSo: () => boolean): Promise<void> {
    const endMs = performance.now() + GIVE_UP_MS;
    while (!isSo()) {
      if (performance.now() > endMs) throw new Error(`no frame in ${GIVE_UP_MS / 1000} s: ${this.#stderr}`);
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
  // As long as a vifd process runs before it is stopped.
  await sleep(100);
  const beganMs = performance.now();
  child.kill('SIGTERM');
  await ended;
  return performance.now() - beganMs;
}

/** Without the variable that makes each start of Node read certificates: 40 to 250 ms that a service does not spend. */
export function plain(more: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { NODE_EXTRA_CA_CERTS: _, ...environment } = process.env;
  return { ...environment, ...more };
}
