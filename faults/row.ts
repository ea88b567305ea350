import type { FaultWorld, Setting } from './world/fault-world.js';

/** What the line for a row must have. One line of stderr must match every pattern. */
export interface Wanted {
  /** The name of the vif, if the fault concerns one. Default: the victim's. */
  readonly names?: RegExp | 'no vif';
  readonly cause: RegExp;
  readonly remedy: RegExp;
}

/** One injected fault: its cause, or the failing call, differs from every other row's. */
export interface Row {
  /** Short and unique: what happens, and to what. */
  readonly name: string;
  readonly kind: Kind;
  readonly setting: Setting;
  /** The line that vifd logs. Some rows are not faults: vifd continues, and has nothing to report. */
  readonly line: Wanted | 'nothing to report';
  /** The pattern of the line that reports the fault's end. Default: `mended: `, and the same cause. */
  readonly mended?: RegExp | 'not logged';
  /** Whether vifd ends the fault by itself, so that `mend` has nothing to do: always, or where workers serve the vifs. */
  readonly mendsItself?: true | 'with workers';
  /** Injects the fault. @returns when it happened, if that was before the call ended: vifd has a second to log it from then on. */
  inject(world: FaultWorld): unknown;
  /** Removes the cause. The guest has two seconds from then on. */
  mend(world: FaultWorld): Promise<void> | void;
  /** Removes what the row leaves in the world beside vifd, before resources are compared. */
  tidy?(world: FaultWorld): Promise<void> | void;
  /** For rows that stop the whole process: how late a neighbour's ping may be. A comment beside it gives the reason. */
  readonly neighbourMs?: number;
  /** How long the fault lasts at least. Default 300. */
  readonly lastsMs?: number;
  /** Whether vifd loads a library at this fault, whose resources are no leak from then on. */
  readonly loads?: true;
  /** Whether the row restarts vifd: its resources are also compared with those of a new process. */
  readonly restarts?: true;
  /** Whether it takes minutes: such rows run only with `--long` and `--without`. */
  readonly long?: true;
  /** Whether the short form has this row too. */
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
  'workers',
  'hooks',
  'guests',
] as const;
export type Kind = (typeof KINDS)[number];

/** vifd as users run it. */
export const COPY: Setting = { name: 'copy' };
export const MAP: Setting = { name: 'map', options: ['--payload', 'map'] };
/** A supervisor, a worker for each of the two guests, and a standby. */
export const WORKERS: Setting = { name: 'workers', options: ['--workers', '2'] };
/** vifd without journals, so that their memory is the process's own. */
export const NO_JOURNAL: Setting = { name: 'no journal', options: ['--no-journal'] };
/** vifd that writes frames into a tap one by one: the kernel executes io_uring's writes, and the library that fails calls has no part in them. */
export const ONE_BY_ONE: Setting = { name: 'no io_uring', env: { VIFD_IO_URING: '0' } };
/** A program that embeds vifd: `vifd run` has no hooks. */
export const EMBEDDED: Setting = {
  name: 'embedded',
  embedded: 'world/embedded.js',
};
