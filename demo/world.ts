import type { WorldError } from '../worlds/world-error.js';
import type { Comparison } from './comparison.js';
import type { DemoOptions, Payload } from './options.js';
import type { Ending, Recorder } from './recorder.js';

/** Guests are domains 7, 8, ... */
export const FIRST_DOMID = 7;

/** Where the demo runs: it moves bytes, reports them to a `Recorder`, and ends the backend on request. */
export interface World extends AsyncDisposable {
  /** One line for users: which parts are real here. */
  readonly about: string;
  /** Ends the backend and starts the next at once, in another payload mode if need be. Resolves when that serves every guest. */
  restart(ending: Ending, payload?: Payload): Promise<void>;
  /** Lets the streams run to their ends, so that what was sent can be compared with what arrived. */
  finish(): Promise<void>;
  /** The throughput of TCP through vifd and without it. Undefined if there is no TCP. Call it after `finish`. */
  readonly compare: (() => Promise<Comparison>) | undefined;
}

export interface WorldParts {
  readonly options: DemoOptions;
  readonly recorder: Recorder;
  /** Aborted when the demo shall end early. */
  readonly signal: AbortSignal;
  /** Ends the demo because something that it needs has failed. */
  readonly fail: (error: WorldError) => void;
}
