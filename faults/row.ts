import type { FaultWorld, Setting } from './world/fault-world.js';

/** What a row's line must say. Every pattern has to be found in one and the same line of stderr. */
export interface Wanted {
  /** The vif, where the fault is of one. Default: the victim's. */
  readonly names?: RegExp | 'no vif';
  readonly cause: RegExp;
  readonly remedy: RegExp;
}

/** One injected fault: another cause, or another call site, than every other row's. */
export interface Row {
  /** Short, unique: what happens to whom. */
  readonly name: string;
  readonly kind: Kind;
  readonly setting: Setting;
  /** The line that vifd logs. Some rows are no fault: vifd continues, and has nothing to report. */
  readonly line: Wanted | 'nothing to report';
  /** The fault's end is logged so. Default: `mended: `, and the same cause. */
  readonly mended?: RegExp | 'not logged';
  /** vifd ends the fault by itself, before `mend` has anything to do. */
  readonly mendsItself?: true;
  /** Brings the fault about. @returns when it happened, if that was earlier than its end: the line has a second from then on. */
  inject(world: FaultWorld): unknown;
  /** Takes the cause away. The guest has two seconds from then on. */
  mend(world: FaultWorld): Promise<void> | void;
  /** What the row leaves in the world that is no vifd's: taken away before anything is compared. */
  tidy?(world: FaultWorld): Promise<void> | void;
  /** For rows that stop the whole process: how late a neighbour's ping may be. Why is the comment beside it. */
  readonly neighbourMs?: number;
  /** How long the fault lasts at least. Default 300. */
  readonly lastsMs?: number;
  /** vifd loads a library when it first meets this: what that holds from then on is no leak. */
  readonly loads?: true;
  /** It restarts vifd: what it holds is compared with one that was just started, too. */
  readonly restarts?: true;
  /** Takes minutes: with `--long` and `--without` alone. */
  readonly long?: true;
  /** The short form has this row, too. */
  readonly short?: true;
}

export const KINDS = [
  'memory',
  'descriptors',
  'disk',
  'store',
  'links',
  'signals',
  'process',
  'hooks',
  'guests',
] as const;
export type Kind = (typeof KINDS)[number];

/** vifd as a user runs it. */
export const COPY: Setting = { name: 'copy' };
export const MAP: Setting = { name: 'map', options: ['--payload', 'map'] };
/** Without journals, whose memory is then the process's own. */
export const NO_JOURNAL: Setting = { name: 'no journal', options: ['--no-journal'] };
/** A program that embeds vifd: `vifd run` has no hooks. */
export const EMBEDDED: Setting = {
  name: 'embedded',
  embedded: 'world/embedded.js',
};
