import { parseArgs } from 'node:util';
import type { PayloadMode } from '../netback/types.js';
import type { XenOptions } from './xen.js';

export interface RunOptions extends XenOptions {
  readonly payload: PayloadMode;
  readonly bridge?: string;
  readonly journal: string | false;
  readonly json?: boolean;
}

/** The first is the default. */
export const PAYLOADS = ['copy', 'map'] as const satisfies readonly PayloadMode[];
/** In the unit's runtime directory. */
export const JOURNAL_DIRECTORY = '/run/vifd';

/**
 * The options of `vifd run` without commander, which costs a tenth of the start. Only what is plainly right is
 * understood: the rest, and `--help`, is commander's to explain.
 * @returns undefined for what commander has to look at.
 */
export function parseRunOptions(args: readonly string[]): RunOptions | undefined {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        payload: { type: 'string', default: PAYLOADS[0] },
        bridge: { type: 'string' },
        journal: { type: 'string', default: JOURNAL_DIRECTORY },
        'no-journal': { type: 'boolean' },
        json: { type: 'boolean' },
        store: { type: 'string' },
        libraries: { type: 'string' },
      },
    });
    const { 'no-journal': noJournal, journal, payload, ...rest } = values;
    if (noJournal && args.includes('--journal')) return undefined;
    const mode = PAYLOADS.find((known) => known === payload);
    return mode && { ...rest, payload: mode, journal: noJournal ? false : journal };
  } catch {
    return undefined;
  }
}
