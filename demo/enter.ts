import { spawn } from 'node:child_process';
import { GUARD } from './children.js';
import { DemoError } from './error.js';
import { DEMO_PROGRAM } from './programs.js';

/** Set in the process that runs inside of the namespaces. */
const INSIDE = 'VIFD_DEMO_INSIDE';

export function isInside(): boolean {
  return process.env[INSIDE] === '1';
}

/**
 * Runs this program again in namespaces of its own: bridge, taps and shared memory vanish with it, whatever happens.
 * @returns its exit code.
 */
export function enterNamespaces(unshare: readonly string[], args: readonly string[]): Promise<number> {
  const command = [...unshare, ...GUARD, process.execPath, DEMO_PROGRAM, ...args];
  const child = spawn('unshare', command, { stdio: 'inherit', env: { ...process.env, [INSIDE]: '1' } });
  // A terminal's Ctrl-C reaches the child by itself, a signal to us alone does not; twice is as good as once.
  const forward = () => child.kill('SIGTERM');
  process.on('SIGINT', forward).on('SIGTERM', forward);
  return new Promise((resolve, reject) => {
    child.once('error', (error) => reject(new DemoError(`unshare cannot be started: ${error.message}`)));
    child.once('exit', (code) => {
      process.off('SIGINT', forward).off('SIGTERM', forward);
      resolve(code ?? 1);
    });
  });
}
