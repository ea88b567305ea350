import { AtMost } from '../at-most.js';
import { Backoff } from '../backoff.js';
import type { EventLog } from '../daemon/run-log.js';
import { VifdError, vifdErrorOf } from '../errors.js';
import { Faults } from '../netback/faults/present-faults.js';
import type { VifId } from '../netback/vif-info.js';
import type { Clock } from '../xen/seam.js';
import { LoadMeter } from './load-meter.js';
import { LINK_PROTOCOL } from './messages.js';
import type { Scheduling } from './process-stat.js';
import { type GreetedWorker, RunningWorker, type WorkerReports, type WorkerStart } from './running-worker.js';

export interface FleetParts {
  readonly clock: Clock;
  readonly log: Pick<EventLog, 'error' | 'mended' | 'workerStarted' | 'workerDied'>;
  /** Starts a process. @throws VifdError ERR_WORKER. */
  readonly start: (reports: WorkerReports) => Promise<WorkerStart>;
  /** Returns the anonymous memory of a process in bytes; undefined if it is gone. The kernel's word, since a worker's is not to be trusted. */
  readonly memoryOf: (pid: number) => number | undefined;
  /** Returns how the kernel schedules a process; undefined if that is not known. */
  readonly schedulingOf: (pid: number) => Scheduling | undefined;
  readonly onAttached: (vif: VifId) => void;
  readonly onGone: (worker: RunningWorker, vif: VifId) => void;
  /** Called when a worker serves no more. @returns the vifs that it had. */
  readonly onDied: (worker: RunningWorker) => readonly VifId[];
}

/** How many processes start at a time: each takes a processor for 0.1 to 0.2 s, which guests are served by meanwhile. */
const STARTS_AT_ONCE = 2;
/** How long a process may take until it can serve: the host may be busy. */
const START_MS = 15_000;
/** The same for one that an earlier supervisor has started: it runs, and new guests wait meanwhile. */
const ADOPT_MS = 2000;
/** Pauses after a start that failed. */
const FIRST_PAUSE_MS = 100;
const MOST_PAUSE_MS = 30_000;
/** A standby that was taken is replaced after this time, although its guests may not be served yet: another worker may die. */
const REPLACE_MS = 1000;
/** A standby that lived this long did not end because it cannot start. */
const SOUND_MS = 60_000;
/** How often to look for silent workers: a hang is noticed so much later than the silence has become too long (`SILENT_MS`). */
const LOOK_MS = 100;
/** Every how many of these looks to look at memory and load. */
const LOOKS_FOR_USE = 10;
/** If this process did not run for so long, its workers may not have run either: the host was suspended, say. */
const STANDSTILL_MS = 500;
/** How long an orderly end may take, since guests wait for the next process. After that the worker is killed, which guests survive. */
export const END_MS = 3000;

/** The workers' processes: starts them, keeps one more as the standby, and notices those that are silent. */
export class Fleet {
  readonly #parts: FleetParts;
  readonly #workers = new Set<RunningWorker>();
  readonly #starts = new AtMost(STARTS_AT_ONCE);
  /** Starts that are under way. */
  readonly #pending = new Set<Promise<unknown>>();
  readonly #faults: Faults;
  /** Starts the standby again after a failure. */
  readonly #retry: Backoff;
  #standby: Promise<RunningWorker> | undefined;
  /** The standby, once it is there. */
  #idle: RunningWorker | undefined;
  #idleSinceMs = 0;
  /** Until when no start is tried after one that failed, and why it failed. */
  #pause: { readonly untilMs: number; readonly ms: number; readonly error: VifdError } | undefined;
  #looking: Disposable;
  #lookedMs: number;
  #looks = 0;
  readonly #meter = new LoadMeter();
  #ownLoad = 0;
  /** Since when this process has run without a pause. */
  #awakeMs: number;
  readonly #stop = new AbortController();
  #begun = false;

  constructor(parts: FleetParts) {
    const { clock, log } = parts;
    this.#parts = parts;
    this.#faults = new Faults({
      onBegin: (error) => log.error(error, undefined),
      onEnd: (error) => log.mended(error, undefined),
    });
    this.#retry = new Backoff(clock, () => this.replenish(), FIRST_PAUSE_MS, MOST_PAUSE_MS);
    this.#lookedMs = clock.now();
    this.#awakeMs = this.#lookedMs;
    this.#looking = clock.after(LOOK_MS, () => this.#look());
  }

  get #ended(): boolean {
    return this.#stop.signal.aborted;
  }

  /** All workers that are not known to have ended, the standby among them. */
  get workers(): ReadonlySet<RunningWorker> {
    return this.#workers;
  }

  get standby(): RunningWorker | undefined {
    return this.#idle;
  }

  /** How much of a core this process used in the last second (0 to 1). */
  get ownLoad(): number {
    return this.#ownLoad;
  }

  get faults(): readonly VifdError[] {
    return this.#faults.all;
  }

  /**
   * Returns a worker without vifs: the standby if there is one, else a new process.
   * @throws VifdError ERR_WORKER if none can be started now.
   */
  async take(): Promise<RunningWorker> {
    const standby = this.#standby;
    this.#standby = undefined;
    this.#idle = undefined;
    this.#parts.clock.after(REPLACE_MS, () => this.replenish());
    if (standby !== undefined) {
      const worker = await standby.catch(() => undefined);
      if (worker !== undefined) return worker;
    }
    return this.#start(false);
  }

  /** Has a standby from now on. Call it when the guests that waited at the start are served. */
  begin(): void {
    this.#begun = true;
    this.replenish();
  }

  /** Starts a standby, if there is none. Call it when a worker that was taken serves its guests. */
  replenish(): void {
    if (!this.#begun || this.#ended || this.#standby !== undefined) return;
    const starting = this.#start(true);
    this.#standby = starting;
    starting.then(
      (worker) => {
        this.#faults.end('standby');
        if (this.#standby !== starting) return;
        this.#idle = worker;
        this.#idleSinceMs = this.#parts.clock.now();
      },
      (error) => {
        if (this.#standby !== starting) return;
        this.#standby = undefined;
        if (this.#ended) return;
        const { message, errno } = vifdErrorOf(error);
        const details = { cause: error, ...(errno === undefined ? {} : { errno }) };
        const text = `There is no standby, so guests of a worker that dies wait for a new process: ${message}`;
        this.#faults.begin('standby', new VifdError('ERR_WORKER', text, details));
        this.#retry.again();
      },
    );
  }

  /** Connects to a worker that an earlier supervisor has started. @throws VifdError ERR_WORKER. */
  adopt(start: FleetParts['start']): Promise<GreetedWorker> {
    return this.#begin(start, ADOPT_MS, END_MS);
  }

  /** Takes a worker back that has no vif any more: it becomes the standby if there is none, and else it ends. */
  giveBack(worker: RunningWorker): void {
    if (worker.ended || this.#ended) return;
    if (this.#standby !== undefined) {
      void this.dismiss(worker);
      return;
    }
    this.#standby = Promise.resolve(worker);
    this.#idle = worker;
    this.#idleSinceMs = this.#parts.clock.now();
  }

  /** Ends a worker in order. */
  async dismiss(worker: RunningWorker): Promise<void> {
    this.#workers.delete(worker);
    await worker.end(END_MS);
  }

  /** Ends all workers: they detach, and guests stay connected. Resolves when their processes are gone. */
  async end(): Promise<void> {
    this.#stop.abort();
    this.#looking[Symbol.dispose]();
    this.#retry.cancel();
    this.#starts.rejectWaiting(stopped());
    await Promise.all([...this.#workers].map((worker) => this.dismiss(worker)));
    await Promise.allSettled(this.#pending);
  }

  async #start(asStandby: boolean): Promise<RunningWorker> {
    const { clock, log } = this.#parts;
    if (this.#pause !== undefined && clock.now() < this.#pause.untilMs) throw this.#pause.error;
    try {
      const { worker, hello } = await this.#starts.run(() => this.#begin(this.#parts.start, START_MS, 0));
      if (hello.protocol !== LINK_PROTOCOL) {
        void this.dismiss(worker);
        throw replaced(hello.version);
      }
      this.#pause = undefined;
      log.workerStarted(worker.pid, asStandby);
      return worker;
    } catch (thrown) {
      const error = vifdErrorOf(thrown);
      const ms = Math.min(this.#pause === undefined ? FIRST_PAUSE_MS : this.#pause.ms * 2, MOST_PAUSE_MS);
      this.#pause = { untilMs: clock.now() + ms, ms, error };
      throw error;
    }
  }

  #begin(start: FleetParts['start'], helloMs: number, detachMs: number): Promise<GreetedWorker> {
    const beginning = this.#greeted(start, helloMs, detachMs).finally(() => this.#pending.delete(beginning));
    this.#pending.add(beginning);
    return beginning;
  }

  async #greeted(start: FleetParts['start'], helloMs: number, detachMs: number): Promise<GreetedWorker> {
    if (this.#ended) throw stopped();
    const { clock, log, memoryOf, schedulingOf, onAttached, onGone } = this.#parts;
    const begun = await RunningWorker.start({
      clock,
      start,
      helloMs,
      memoryOf,
      schedulingOf,
      stop: this.#stop.signal,
      detachMs,
      onAttached,
      onGone,
      onEnd: (worker) => this.#over(worker),
      onError: (error) => log.error(error, undefined),
    });
    const { worker } = begun;
    if (this.#ended) {
      await worker.end(END_MS);
      throw stopped();
    }
    this.#workers.add(worker);
    return begun;
  }

  #over(worker: RunningWorker): void {
    // Ended in order, or ended before it could serve, which its start reports.
    if (!this.#workers.delete(worker)) return;
    const { clock, log, onDied } = this.#parts;
    const vifs = onDied(worker);
    void worker.gone.then((how) => log.workerDied(worker.pid, how, vifs));
    if (worker !== this.#idle) return;
    this.#standby = undefined;
    this.#idle = undefined;
    if (clock.now() - this.#idleSinceMs > SOUND_MS) this.#retry.reset();
    this.#retry.again();
  }

  #look(): void {
    const { clock } = this.#parts;
    const nowMs = clock.now();
    if (nowMs - this.#lookedMs > STANDSTILL_MS) this.#awakeMs = nowMs;
    this.#lookedMs = nowMs;
    // This look may be late: what workers have sent meanwhile is received first.
    this.#looking = clock.after(0, () => this.#judge());
  }

  #judge(): void {
    const { clock } = this.#parts;
    for (const worker of this.#workers) worker.check(this.#awakeMs);
    if (++this.#looks % LOOKS_FOR_USE === 0) {
      this.#ownLoad = this.#meter.take();
      this.#replaceOversized();
    }
    this.#looking = clock.after(LOOK_MS, () => this.#look());
  }

  /** Replaces a worker that has too much memory, one at a time and when the next one is there: its guests wait only while it detaches. */
  #replaceOversized(): void {
    const isStarting = this.#standby !== undefined && this.#idle === undefined;
    const workers = [...this.#workers];
    if (isStarting || workers.some(({ ending }) => ending)) return;
    for (const worker of workers) {
      const { excess } = worker;
      if (excess === undefined) continue;
      void worker.replace(excess, END_MS);
      return;
    }
  }
}

function replaced(version: string): VifdError {
  const message = `vifd was replaced by ${version} while it runs, and the two do not understand each other: restart vifd.`;
  return new VifdError('ERR_WORKER', message);
}

function stopped(): VifdError {
  return new VifdError('ERR_WORKER', 'vifd stops: no worker is started any more.');
}
