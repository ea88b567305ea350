import { machineMs } from './clock.js';
import { REPORT_MS } from './messages.js';
import { type Ending, HISTORY_CELLS, type Recorder } from './recorder.js';

/** A run as a curve and its restarts. `npm run picture` draws it. */
export interface History {
  readonly schemaVersion: 1;
  readonly event: 'history';
  readonly cellMs: number;
  /** Bytes of all streams together, one number for each `cellMs` from the beginning of the run. */
  readonly bytes: readonly number[];
  readonly restarts: readonly HistoryRestart[];
}

export interface HistoryRestart {
  readonly ending: Ending;
  /** Since the beginning of the run, as the cells of `bytes`. */
  readonly atMs: number;
}

/** Returns the history of a run that has ended; undefined for a run that lasted longer than the recorder remembers (51 s). */
export function historyOf(recorder: Recorder, seconds: number): History | undefined {
  const count = Math.ceil((seconds * 1000) / REPORT_MS);
  if (count > HISTORY_CELLS) return undefined;
  const startMs = machineMs() - recorder.elapsedMs;
  const bytesAt = (cell: number) => recorder.streams.reduce((sum, stream) => sum + stream.at(cell), 0);
  return {
    schemaVersion: 1,
    event: 'history',
    cellMs: REPORT_MS,
    bytes: Array.from({ length: count }, (_, cell) => bytesAt(cell)),
    restarts: recorder.restarts.map(({ ending, atMs }) => ({ ending, atMs: Math.round(atMs - startMs) })),
  };
}
