import { Command } from 'commander';
import type { VifDetails } from '../netback/show.js';
import { jsonLine } from '../text.js';
import { askPatiently } from './ask.js';
import { journalOption } from './options.js';
import { showText } from './show-text.js';
import { parseVif } from './vif-argument.js';

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
  const vifs = await askPatiently<VifDetails[]>(journal, { ask: 'show', ...(vif && { vif }) });
  if (json === true) process.stdout.write(`${jsonLine({ schemaVersion: 1, vifs })}\n`);
  else process.stdout.write(vifs.length === 0 ? 'no vifs\n' : vifs.map(showText).join('\n'));
}
