import { Command } from 'commander';
import { jsonLine } from '../text.js';
import { askPatiently } from './ask.js';
import { jsonOption, sharedOption } from './options.js';
import { parseVif } from './vif-argument.js';

export function detachCommand(): Command {
  return new Command('detach')
    .description('end a vif whose node xenstore has lost: the running vifd removes its tap and journal')
    .argument('<vif>', 'as vif1.0')
    .addOption(jsonOption())
    .addOption(sharedOption('journal'))
    .action(detach);
}

async function detach(name: string, { journal, json }: { journal: string; json?: boolean }): Promise<void> {
  const { id } = parseVif(name);
  await askPatiently(journal, { ask: 'detach', vif: id });
  if (json === true) process.stdout.write(`${jsonLine({ schemaVersion: 1, detached: id })}\n`);
  else process.stdout.write(`${id} is detached: its tap and journal are removed\n`);
}
