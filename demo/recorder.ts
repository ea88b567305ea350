import { machineMs } from './clock.js';
import { REPORT_MS, type Silence } from './messages.js';

/** The signal that ends a backend process. */
export type Ending = 'SIGTERM' | 'SIGKILL';

export interface StreamEnds {
  readonly from: string;
  readonly to: string;
}

/** Enough for the widest terminal. */
export const HISTORY_CELLS = 512;
/** A silence is reported up to REPORT_MS late; restarts are a second apart. */
const RESTARTS_OPEN = 8;

export interface Restart {
  readonly ending: Ending;
  readonly atMs: number;
  /** The time until every guest was served again. */
  attachMs: number | undefined;
  /** The longest silence of any stream that began after the previous restart and reached into this one's time. */
  gapMs: number;
}

/** The bytes of one stream, in cells of REPORT_MS since the run began. */
export class StreamRecord {
  readonly ends: StreamEnds;
  total = 0;
  sent: number | undefined;
  received: number | undefined;
  readonly #cells = new Float64Array(HISTORY_CELLS);
  #newest = 0;

  constructor(ends: StreamEnds) {
    this.ends = ends;
  }

  add(cell: number, bytes: number): void {
    this.total += bytes;
    this.#forward(cell);
    this.#cells[cell % HISTORY_CELLS] = this.at(cell) + bytes;
  }

  at(cell: number): number {
    const known = cell >= 0 && cell <= this.#newest && cell > this.#newest - HISTORY_CELLS;
    return known ? (this.#cells[cell % HISTORY_CELLS] ?? 0) : 0;
  }

  /** Cells that are passed over are empty. */
  #forward(cell: number): void {
    const from = Math.max(this.#newest + 1, cell - HISTORY_CELLS + 1);
    for (let skipped = from; skipped <= cell; skipped++) this.#cells[skipped % HISTORY_CELLS] = 0;
    this.#newest = Math.max(this.#newest, cell);
  }
}

/** The events of a run. */
export class Recorder {
  readonly streams: StreamRecord[] = [];
  readonly restarts: Restart[] = [];
  /** The failures, in words; the first few are shown. */
  readonly complaints: string[] = [];
  resets = 0;
  differingBytes = 0;
  violations = 0;
  /** The longest silence before the first restart, which comes from the machine's load alone. */
  quietGapMs = 0;
  #startMs = machineMs();

  /** @returns the stream's number. */
  addStream(from: string, to: string): number {
    return this.streams.push(new StreamRecord({ from, to })) - 1;
  }

  /** Call it when the run begins: earlier data belongs to the setup. */
  begin(): void {
    this.#startMs = machineMs();
  }

  get elapsedMs(): number {
    return machineMs() - this.#startMs;
  }

  get bytes(): number {
    return this.streams.reduce((sum, stream) => sum + stream.total, 0);
  }

  cellOf(atMs: number): number {
    return Math.max(0, Math.floor((atMs - this.#startMs) / REPORT_MS));
  }

  received(stream: number, bytes: number, silences: readonly Silence[]): void {
    // The bytes arrived in the REPORT_MS that just ended.
    this.streams[stream]?.add(this.cellOf(machineMs() - REPORT_MS / 2), bytes);
    for (const silence of silences) this.#silence(silence);
  }

  restarting(ending: Ending): Restart {
    const restart: Restart = { ending, atMs: machineMs(), attachMs: undefined, gapMs: 0 };
    this.restarts.push(restart);
    return restart;
  }

  reset(stream: number, why: string): void {
    this.resets += 1;
    const ends = this.streams[stream]?.ends;
    this.complaints.push(`${ends?.from} → ${ends?.to}: ${why}`);
  }

  differ(stream: number, bytes: number): void {
    const ends = this.streams[stream]?.ends;
    if (this.differingBytes === 0) this.complaints.push(`${ends?.from} → ${ends?.to}: ${bytes} bytes differ`);
    this.differingBytes += bytes;
  }

  violation(text: string): void {
    this.violations += 1;
    if (this.violations <= 3) this.complaints.push(text);
  }

  /**
   * The backend reports an error. The demo's guests keep to the protocol: ERR_PROTOCOL means that the backend misread
   * what an earlier process left in the ring, and has stopped serving that guest.
   */
  complaint(message: string, code: string): void {
    const text = `the backend: ${message}`;
    // Each process reports the error again.
    if (this.complaints.includes(text)) return;
    this.complaints.push(text);
    if (code === 'ERR_PROTOCOL') this.violations += 1;
  }

  #silence([fromMs, untilMs]: Silence): void {
    const first = this.restarts[0];
    if (first === undefined || untilMs <= first.atMs) {
      if (fromMs >= this.#startMs) this.quietGapMs = Math.max(this.quietGapMs, untilMs - fromMs);
      return;
    }
    const newest = this.restarts.length;
    for (let i = Math.max(0, newest - RESTARTS_OPEN); i < newest; i++) {
      const restart = this.restarts[i] as Restart;
      const next = this.restarts[i + 1]?.atMs ?? Number.POSITIVE_INFINITY;
      if (untilMs > restart.atMs && fromMs < next) restart.gapMs = Math.max(restart.gapMs, untilMs - fromMs);
    }
  }
}
