import { Command } from 'commander';
import type { DaemonDetails } from '../daemon/details-json.js';
import { jsonLine } from '../text.js';
import { askPatiently } from './ask.js';
import { jsonOption, sharedOption } from './options.js';
import { showAllText } from './show-text.js';
import { parseVif } from './vif-argument.js';

interface ShowOptions {
  readonly journal: string;
  readonly json?: boolean;
}

export function showCommand(): Command {
  return new Command('show')
    .description(
      'show what each vif has negotiated, its ring indices and its counters, from the running vifd',
    )
    .argument('[vif]', 'as vif1.0; default all')
    .addOption(jsonOption())
    .addOption(sharedOption('journal'))
    .action(show);
}

async function show(name: string | undefined, { journal, json }: ShowOptions): Promise<void> {
  const vif = name === undefined ? undefined : parseVif(name).id;
  const details = await askPatiently<DaemonDetails>(journal, { ask: 'show', ...(vif && { vif }) });
  const { faults, processes, vifs } = details;
  process.stdout.write(
    json === true ? `${jsonLine({ schemaVersion: 1, faults, processes, vifs })}\n` : showAllText(details),
  );
}
