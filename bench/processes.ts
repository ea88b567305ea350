import { spawn } from 'node:child_process';
import type { Effort, Found } from './measure.js';
import type { Subject } from './subjects.js';

/** How long a subject is measured. */
export interface SubjectEffort extends Effort {
  readonly processes: number;
}

/** What a process is to measure, as JSON in its arguments. */
export interface Job {
  readonly subject: string;
  readonly effort: Effort;
  /** Only cells whose name has this in it. */
  readonly only: string;
}

/**
 * Measures a subject in processes, one after the other.
 * @param program the bench's main file, which gets `--job` and the Job.
 * @returns what each process found.
 */
export async function runProcesses(
  program: string,
  subject: Subject,
  { processes, ...effort }: SubjectEffort,
  only: string,
): Promise<Found[][]> {
  const job: Job = { subject: subject.name, effort, only };
  const asUser = process.getuid?.() === 0 ? [] : ['--map-root-user'];
  const prefix = subject.network ? ['unshare', '--net', ...asUser] : [];
  const command = [...prefix, process.execPath, program, '--job', JSON.stringify(job)];
  const runs: Found[][] = [];
  while (runs.length < processes) runs.push(await runProcess(subject.name, command));
  return runs;
}

function runProcess(name: string, [file, ...args]: readonly string[]): Promise<Found[]> {
  const child = spawn(file, args, { stdio: ['ignore', 'inherit', 'pipe', 'ipc'] });
  let complaint = '';
  child.stderr?.on('data', (text) => {
    complaint += text;
  });
  return new Promise((resolve, reject) => {
    child.once('message', (found) => resolve(found as Found[]));
    child.once('error', reject);
    child.once('close', (code) =>
      reject(new Error(complaint.trim() || `the process of ${name} ended with ${code}`)),
    );
  });
}
