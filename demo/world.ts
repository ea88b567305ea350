import type { WorldError } from '../worlds/world-error.js';
import type { Comparison } from './comparison.js';
import type { DemoOptions, Payload } from './options.js';
import type { Ending, Recorder } from './recorder.js';

/** Guests are domains 7, 8, ... */
export const FIRST_DOMID = 7;

/** Where the demo runs: it moves bytes, tells a `Recorder` of them, and ends the backend when asked to. */
export interface World extends AsyncDisposable {
  /** One line for people: what is real here. */
  readonly about: string;
  /** Ends the backend and starts the next at once, in another payload mode if need be. Resolves when that serves every guest. */
  restart(ending: Ending, payload?: Payload): Promise<void>;
  /** Lets the streams run to their ends, so that what was sent can be compared with what arrived. */
  finish(): Promise<void>;
  /** What TCP reaches through vifd and without it. Undefined where there is no TCP. After `finish`. */
  readonly compare: (() => Promise<Comparison>) | undefined;
}

export interface WorldParts {
  readonly options: DemoOptions;
  readonly recorder: Recorder;
  /** Aborted when the demo shall end early. */
  readonly signal: AbortSignal;
  /** Ends the demo: something broke that it needs. */
  readonly fail: (error: WorldError) => void;
}
