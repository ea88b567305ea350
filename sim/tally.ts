import type { Outcome } from './judge.js';
import type { MutationResult } from './mutate.js';

export interface Failure {
  readonly what: string;
  readonly faults: readonly string[];
  readonly trace: readonly string[];
}

/** The most failures that are recorded in full; all are counted. */
const FAILURES_MAX = 10;

/** The results of many runs. */
export class Tally {
  runs = 0;
  /** How many processes were killed in the middle of their work. */
  kills = 0;
  stops = 0;
  frames = 0;
  violations = 0;
  lostFromGuest = 0;
  lostToGuest = 0;
  /** The most repeated frames after one kill. */
  repeated = 0;
  readonly failures: Failure[] = [];
  /** The results of mutations, if they were tried. */
  readonly mutations: MutationResult[] = [];

  add(what: string, outcome: Outcome): void {
    const { kills, stops, frames, faults, lost, repeated, trace } = outcome;
    this.runs += 1;
    this.kills += kills;
    this.stops += stops;
    this.frames += frames;
    this.violations += faults.length;
    this.lostFromGuest += lost.fromGuest;
    this.lostToGuest += lost.toGuest;
    this.repeated = Math.max(this.repeated, repeated.fromGuest, repeated.toGuest);
    if (faults.length > 0 && this.failures.length < FAILURES_MAX) this.failures.push({ what, faults, trace });
  }

  merge(other: Tally): void {
    this.runs += other.runs;
    this.kills += other.kills;
    this.stops += other.stops;
    this.frames += other.frames;
    this.violations += other.violations;
    this.lostFromGuest += other.lostFromGuest;
    this.lostToGuest += other.lostToGuest;
    this.repeated = Math.max(this.repeated, other.repeated);
    this.failures.push(...other.failures.slice(0, FAILURES_MAX - this.failures.length));
    this.mutations.push(...other.mutations);
  }
}
