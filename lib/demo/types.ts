import type { Recorder } from './recorder.js';

export interface DemoOptions {
  readonly seconds: number;
  readonly guests: number;
  readonly payload: 'map' | 'copy';
  readonly json: boolean;
  /** So many SIGKILLs at random instants, payload modes in turn, in place of a restart every second. */
  readonly kills?: number;
  /** The next life of the backend is loaded while the last one serves. */
  readonly standby: boolean;
  /** Instead of finding out. */
  readonly world?: 'namespaces' | 'model';
}

/** Guests are domains 7, 8, ... */
export const FIRST_DOMID = 7;

/** How a life of the backend ends. */
export type Ending = 'SIGTERM' | 'SIGKILL';

export type Payload = DemoOptions['payload'];

export interface StreamEnds {
  readonly from: string;
  readonly to: string;
}

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
  /** Ends the demo: something broke that it cannot go on without. */
  readonly fail: (error: DemoError) => void;
}

export type Comparison =
  | {
      readonly vifdGbits: number;
      readonly bridgeGbits: number;
      readonly ratio: number;
      readonly seconds: number;
    }
  | { readonly skipped: string };

/** What stands in the way of the demo, in one line that names the remedy. */
export class DemoError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'DemoError';
  }
}
