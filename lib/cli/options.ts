import { InvalidArgumentError, Option } from 'commander';
import { JOURNAL_DIRECTORY } from '../daemon/run-options.js';

export function storeOption(): Option {
  return new Option('--store <socket>', 'xenstored socket').env('XENSTORED_PATH');
}

export function librariesOption(): Option {
  return new Option('--libraries <dir>', 'where libxengnttab and libxenevtchn are').env('VIFD_XEN_LIBRARIES');
}

/** The runtime directory: `vifd run` has its journals and its lock there, and the other verbs look for it there. */
export function journalOption(): Option {
  return new Option('--journal <dir>', 'where journals lie: a tmpfs that outlives this process')
    .argParser(directoryOf)
    .default(JOURNAL_DIRECTORY);
}

function directoryOf(text: string): string {
  if (text !== '') return text;
  throw new InvalidArgumentError('Give the path of a directory.');
}
