import { type ChildProcess, spawn } from 'node:child_process';

export interface Done {
  readonly code: number;
  /** Stdout and stderr, in the order of their output. */
  readonly output: string;
}

/** Runs a program to its end. */
export async function run(command: string, ...args: string[]): Promise<Done> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const output = collect(child);
  const code = await new Promise<number>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) => resolve(status ?? -1));
  });
  return { code, output: output() };
}

/** Runs a program that must succeed, and returns its output. */
export async function must(command: string, ...args: string[]): Promise<string> {
  const { code, output } = await run(command, ...args);
  if (code !== 0) throw new Error(`\`${[command, ...args].join(' ')}\` ended with ${code}: ${output}`);
  return output;
}

/** @returns a function that returns the child's output so far. */
export function collect(child: ChildProcess): () => string {
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
  }
  return () => text;
}

/** Polls until the condition holds, for a minute: a slow machine is no failure. */
export async function until(
  what: string,
  isSo: () => boolean | Promise<boolean>,
  timeoutMs = 60_000,
): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`after ${timeoutMs / 1000} s still not: ${what}`);
    await sleep(100);
  }
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
