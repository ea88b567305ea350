import { spawn } from 'node:child_process';
import type { Effort, Found } from './measure.js';
import type { Subject } from './subjects.js';

/** What a process is to measure, as JSON in its arguments. */
export interface Job {
  readonly subject: string;
  readonly effort: Effort;
  /** Only cells whose name has this in it. */
  readonly only: string;
}

/**
 * Runs a job in a process of its own.
 * @param program the bench's main file, which gets `--job` and the Job.
 * @param signal ends the process.
 * @returns what the process found. @throws with what it wrote on stderr.
 */
export function runProcess(
  program: string,
  { network }: Subject,
  job: Job,
  signal: AbortSignal,
): Promise<Found[]> {
  const asUser = process.getuid?.() === 0 ? [] : ['--map-root-user'];
  const prefix = network ? ['unshare', '--net', ...asUser] : [];
  const [file, ...args] = [...prefix, process.execPath, program, '--job', JSON.stringify(job)];
  const child = spawn(file, args, { stdio: ['ignore', 'inherit', 'pipe', 'ipc'], signal });
  let complaint = '';
  child.stderr?.on('data', (text) => {
    complaint += text;
  });
  return new Promise((resolve, reject) => {
    child.once('message', (found) => resolve(found as Found[]));
    child.once('error', reject);
    child.once('close', (code) =>
      reject(new Error(complaint.trim() || `the process of ${job.subject} ended with ${code}`)),
    );
  });
}
