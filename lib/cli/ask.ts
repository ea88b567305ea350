import { setTimeout as sleep } from 'node:timers/promises';
import { ask, type Question } from '../daemon/query.js';
import { VifdError } from '../errors.js';
import { runLockHolder } from '../host/run-lock.js';

const PAUSE_MS = 100;
const PATIENCE_MS = 3000;

/** As `ask`, but tries again while vifd does not respond, because it has just started. */
export async function askPatiently<T>(directory: string, question: Question): Promise<T> {
  for (let waitedMs = 0; ; waitedMs += PAUSE_MS) {
    try {
      return await ask<T>(directory, question);
    } catch (error) {
      const begins = error instanceof VifdError && error.code === 'ERR_NOT_RUNNING' && isRunning(directory);
      if (!begins || waitedMs >= PATIENCE_MS) throw error;
    }
    await sleep(PAUSE_MS);
  }
}

function isRunning(directory: string): boolean {
  try {
    return runLockHolder(directory) !== undefined;
  } catch {
    return false;
  }
}
