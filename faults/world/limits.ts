import { readdirSync } from 'node:fs';
import { command } from '../../worlds/processes/children.js';

const HIGH = 1024;

/** From now on the process gets no new descriptor: EMFILE. */
export async function noMoreDescriptors(pid: number): Promise<void> {
  const used = new Set(readdirSync(`/proc/${pid}/fd`).map(Number));
  let free = 0;
  while (used.has(free)) free += 1;
  await limit(pid, free);
}

export function descriptorsAgain(pid: number): Promise<void> {
  return limit(pid, HIGH);
}

/** Sets only the soft limit, which can be raised again. */
async function limit(pid: number, soft: number): Promise<void> {
  await command('prlimit', '--pid', String(pid), `--nofile=${soft}:`);
}
