import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { VifdError } from '../errors.js';
import type { VifDetails } from '../netback/show.js';
import { runLockHolder } from '../run-lock.js';
import { jsonLine } from '../text.js';
import { journalOption } from './options.js';
import { ask, type Question } from './query.js';
import { showText } from './show-text.js';
import { parseVif } from './vif-argument.js';

const PAUSE_MS = 100;
const PATIENCE_MS = 3000;

interface ShowOptions {
  readonly journal: string;
  readonly json?: boolean;
}

export function showCommand(): Command {
  return new Command('show')
    .description('show what was negotiated, ring indices and counters, asked of the running vifd')
    .argument('[vif]', 'as vif1.0; default all')
    .option('--json', 'as JSON')
    .addOption(journalOption())
    .action(show);
}

async function show(name: string | undefined, { journal, json }: ShowOptions): Promise<void> {
  const vif = name === undefined ? undefined : parseVif(name).id;
  const vifs = await askPatiently(journal, { ask: 'show', ...(vif && { vif }) });
  if (json === true) process.stdout.write(`${jsonLine({ schemaVersion: 1, vifs })}\n`);
  else process.stdout.write(vifs.length === 0 ? 'no vifs\n' : vifs.map(showText).join('\n'));
}

/** One that has only just begun does not answer yet. */
async function askPatiently(directory: string, question: Question): Promise<VifDetails[]> {
  for (let waitedMs = 0; ; waitedMs += PAUSE_MS) {
    try {
      return await ask<VifDetails[]>(directory, question);
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
