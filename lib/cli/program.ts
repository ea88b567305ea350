import { spawn } from 'node:child_process';
import { VifdError } from '../errors.js';

/**
 * Runs a program of the system to its end. The program has a process group of its own, so that it completes its work even if this process is
 * killed.
 * @throws VifdError ERR_PROGRAM with the program's output.
 */
export async function runProgram(command: string, ...args: string[]): Promise<void> {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'], detached: true });
  let output = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    output += chunk;
  });
  const status = await new Promise<number | string>((resolve) => {
    child.on('error', (error) => resolve((error as NodeJS.ErrnoException).code ?? error.message));
    child.on('close', (code, signal) => resolve(code ?? signal ?? -1));
  });
  if (status === 0) return;
  const reason = output.trim() === '' ? `ended with ${status}` : output.trim();
  throw new VifdError('ERR_PROGRAM', `\`${[command, ...args].join(' ')}\`: ${reason}`);
}
