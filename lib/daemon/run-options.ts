import { availableParallelism } from 'node:os';
import type { PayloadMode } from '../netback/settings.js';
import { QUEUES_MAX } from '../netback/settings.js';
import { isInterfaceName } from '../ports/tap-options.js';
import type { XenOptions } from './open-xen.js';

export interface RunOptions extends XenOptions {
  readonly payload: PayloadMode;
  readonly bridge?: string;
  /** How many queues a guest may have. */
  readonly queues: number;
  readonly journal: string | false;
  readonly json?: boolean;
}

/** The first is the default. */
export const PAYLOADS = ['copy', 'map'] as const satisfies readonly PayloadMode[];
/** In the unit's runtime directory. */
export const JOURNAL_DIRECTORY = '/run/vifd';

/** As Linux's xen-netback (netback_init). */
export function defaultQueues(): number {
  return Math.min(8, availableParallelism());
}

/** @returns undefined for what is no number of queues. */
export function parseQueues(text: string): number | undefined {
  const queues = /^[0-9]{1,2}$/.test(text) ? Number(text) : 0;
  return queues >= 1 && queues <= QUEUES_MAX ? queues : undefined;
}

const FLAGS = ['json', 'no-journal'] as const;
const VALUES = ['payload', 'queues', 'bridge', 'journal', 'store', 'libraries'] as const;

/**
 * The options of `vifd run` without commander, which costs a tenth of the start (and util.parseArgs a quarter of that).
 * Only what is plainly right is understood, `--name` and `--name value`: the rest, and `--help`, is commander's.
 * @returns undefined for what commander has to look at.
 */
export function parseRunOptions(args: readonly string[]): RunOptions | undefined {
  const given = new Map<string, string | true>();
  for (let i = 0; i < args.length; i++) {
    const name = args[i].slice(2);
    if (FLAGS.some((flag) => args[i] === `--${flag}`)) given.set(name, true);
    else if (VALUES.some((option) => args[i] === `--${option}`)) {
      i += 1;
      if (args[i] === undefined || args[i].startsWith('-')) return undefined;
      given.set(name, args[i]);
    } else return undefined;
  }
  const {
    payload = PAYLOADS[0],
    queues: count,
    journal,
    bridge,
    'no-journal': noJournal,
    ...rest
  } = Object.fromEntries(given);
  const mode = PAYLOADS.find((known) => known === payload);
  const queues = count === undefined ? defaultQueues() : parseQueues(`${count}`);
  if (mode === undefined || queues === undefined || (noJournal === true && journal !== undefined))
    return undefined;
  if (journal === '' || (bridge !== undefined && !isInterfaceName(`${bridge}`))) return undefined;
  return {
    ...rest,
    ...(bridge === undefined ? {} : { bridge: `${bridge}` }),
    payload: mode,
    queues,
    journal: noJournal === true ? false : `${journal ?? JOURNAL_DIRECTORY}`,
  };
}
