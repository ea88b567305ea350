import { availableParallelism } from 'node:os';
import { JOURNAL_VERSION, JOURNAL_VERSION_BEFORE, type JournalVersion } from '../durable/layout.js';
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
  /** The version in which journals are written. */
  readonly journalVersion: JournalVersion;
  /** How many worker processes serve the vifs; 0: this process does. */
  readonly workers: WorkerCount;
  readonly json?: boolean;
}

/** 'per-guest': a worker for each guest. */
export type WorkerCount = number | 'per-guest';

/** An option without a value: the flag sets it to true. */
export interface FlagRow {
  readonly help: string;
}

/** An option with a value, which follows the flag. */
export interface ValueRow<T> {
  readonly help: string;
  /** The text that help shows in place of the value. */
  readonly shape: string;
  /** The environment variable that is read if the option is not given. An empty variable counts as none. */
  readonly environment?: string;
  /** Returns the default; a function, because the number of CPUs may be the default. If absent, the option has no default. */
  readonly default?: () => T;
  /** Help lists these values. */
  readonly choices?: readonly string[];
  /** Help text of the flag with `--no-` in front, which sets the option to false. Absent: there is no such flag. */
  readonly negation?: string;
  /** Returns the value; undefined for an invalid text. */
  readonly parse: (text: string) => T | undefined;
  /** The message for a text that `parse` refuses. */
  readonly refusal: string;
}

export type OptionRow = FlagRow | ValueRow<string | number>;

type RowFor<T> = [T] extends [boolean] ? FlagRow : ValueRow<Exclude<T, false>>;
/** Each option has a row: TypeScript refuses a table that lacks one. */
type Table = { readonly [Name in keyof Required<RunOptions>]: RowFor<Required<RunOptions>[Name]> };

/** The first is the default. */
const PAYLOADS = ['copy', 'map'] as const satisfies readonly PayloadMode[];

const WORKERS_MAX = 64;

const VERSIONS: readonly JournalVersion[] = [JOURNAL_VERSION, JOURNAL_VERSION_BEFORE];

/** Accepts any text as a path, even an empty one: a path that cannot be opened is reported then. */
const anyPath = {
  parse: (text: string) => text,
  refusal: 'Give a path.',
};

/**
 * The options of `vifd run`, in the order in which help lists them. A row's name is the property of `RunOptions`, and the key in a
 * configuration file; `flagOf` makes the flag of it. The other verbs take the options that they share with `vifd run` from here.
 */
export const OPTIONS: Table = {
  payload: {
    help: 'how frames cross: copy them, or map the pages of the guest',
    shape: '<mode>',
    default: () => PAYLOADS[0],
    choices: PAYLOADS,
    parse: (text) => PAYLOADS.find((mode) => mode === text),
    refusal: `Allowed choices are ${PAYLOADS.join(', ')}.`,
  },
  queues: {
    help: 'the most queues of a guest (default: one for each CPU, at most 8)',
    shape: '<n>',
    default: defaultQueues,
    parse: parseQueues,
    refusal: `Give a whole number from 1 to ${QUEUES_MAX}.`,
  },
  bridge: {
    help: 'the bridge for taps of vifs without a hotplug script',
    shape: '<name>',
    parse: (text) => (isInterfaceName(text) ? text : undefined),
    refusal: 'Give 1 to 15 bytes without spaces, slashes, colons or %.',
  },
  /** The runtime directory: `vifd run` has its journals, lock and socket there, and the other verbs look for them there. */
  journal: {
    help: 'the directory of the journals: on a tmpfs, which outlives this process',
    shape: '<dir>',
    // The runtime directory of the systemd unit.
    default: () => '/run/vifd',
    negation: 'run without journals: a kill at the wrong moment may then cost a guest its device',
    parse: (text) => text || undefined,
    refusal: 'Give the path of a directory.',
  },
  journalVersion: {
    help: `version of the journals: ${JOURNAL_VERSION_BEFORE} before a change to an older vifd`,
    shape: '<n>',
    // An older vifd ignores the variable, but would refuse the option.
    environment: 'VIFD_JOURNAL_VERSION',
    default: () => JOURNAL_VERSION,
    parse: (text) => VERSIONS.find((version) => `${version}` === text),
    refusal: `Give ${JOURNAL_VERSION}, or ${JOURNAL_VERSION_BEFORE} before a change to an older vifd, which does not read ${JOURNAL_VERSION}.`,
  },
  workers: {
    help: 'how many processes serve the vifs, or per-guest: one for each guest; 0: all in this process',
    shape: '<n>',
    // As above.
    environment: 'VIFD_WORKERS',
    default: () => 0,
    parse: parseWorkers,
    refusal: `Give a whole number from 0 to ${WORKERS_MAX}, or per-guest.`,
  },
  json: { help: 'print events as JSON, one object a line' },
  store: { help: 'xenstored socket', shape: '<socket>', environment: 'XENSTORED_PATH', ...anyPath },
  libraries: {
    help: 'the directory of libxengnttab and libxenevtchn',
    shape: '<dir>',
    environment: 'VIFD_XEN_LIBRARIES',
    ...anyPath,
  },
};

export const OPTION_ROWS = Object.entries(OPTIONS) as ReadonlyArray<readonly [string, OptionRow]>;

/** Returns the flag of a row, without its dashes: `journal-version` for `journalVersion`. */
export function flagOf(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** Returns the number of queues that Linux's xen-netback offers (netback_init). */
function defaultQueues(): number {
  return Math.min(8, availableParallelism());
}

function parseQueues(text: string): number | undefined {
  const queues = /^[0-9]{1,2}$/.test(text) ? Number(text) : 0;
  return queues >= 1 && queues <= QUEUES_MAX ? queues : undefined;
}

function parseWorkers(text: string): WorkerCount | undefined {
  if (text === 'per-guest') return text;
  const workers = /^[0-9]{1,2}$/.test(text) ? Number(text) : -1;
  return workers >= 0 && workers <= WORKERS_MAX ? workers : undefined;
}
