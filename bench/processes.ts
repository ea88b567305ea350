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
  let found: Found[] | undefined;
  child.stderr?.on('data', (text) => {
    complaint += text;
  });
  child.on('message', (message) => {
    found = message as Found[];
  });
  return new Promise((resolve, reject) => {
    let failure: Error | undefined;
    child.on('error', (error) => {
      failure = error;
      // Without a process there is no `close`.
      if (child.pid === undefined) reject(error);
    });
    child.once('close', (code) => {
      const because =
        failure?.message || complaint.trim() || `the process of ${job.subject} ended with ${code}`;
      if (code === 0 && found !== undefined) resolve(found);
      else reject(new Error(because));
    });
  });
}
