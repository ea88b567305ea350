import { Backoff } from '../backoff.js';
import { VifdError } from '../errors.js';
import type { VifDetails } from '../netback/show.js';
import type { Admission, Named, VifPlace } from '../netback/vif/directory.js';
import type { VifId, VifState } from '../netback/vif-info.js';
import type { Clock } from '../xen/seam.js';
import type { Scheduling } from './process-stat.js';
import type { Hello, Predecessor } from './remote-vifs.js';

/** What a supervisor uses of a worker's process; see `StartedWorker`. */
export interface WorkerProcess {
  readonly pid: number;
  readonly gone: Promise<string>;
  /** Resolves when it is known to serve no more, before it is gone. Absent: the end of its link is the first sign. */
  readonly dying?: Promise<void>;
  /** Whether the kernel ends its main thread, which writes to the rings: it has run its last instruction. */
  isExiting(): boolean;
  signal(signal: NodeJS.Signals): void;
}

/** What a supervisor uses of its end of a link; see `RemoteVifs`. Requests reject when the link ends. */
export interface RemoteWorker extends Disposable {
  readonly vifs: ReadonlyMap<VifId, { readonly state: VifState; readonly reason: string | undefined }>;
  found(
    place: VifPlace,
    connectedOnly: boolean,
    descriptors: ReadonlyMap<string, number>,
    after: Predecessor,
  ): Promise<Admission>;
  show(vif: VifId): Promise<VifDetails>;
  forget(vif: VifId): Promise<void>;
  /** Resolves when the worker has detached from every guest; then it ends. */
  end(): Promise<void>;
  changed(path: string, named: Named): void;
  domainGone(domid: number): void;
  storeReturned(): void;
  /** Of the vifs that its hello named, it serves these; see `RemoteVifs`. */
  confirm(vifs: readonly VifId[]): void;
  /** Hears what it has sent before it died. */
  receiveRest(): void;
}

/** What a worker reports that concerns its supervisor. */
export interface WorkerReports {
  onHello(hello: Hello): void;
  onAlive(load: number): void;
  onAttached(vif: VifId): void;
  /** The vif has ended, and there may be a new one at its place. */
  onGone(vif: VifId): void;
  /** @param error undefined if the worker closed its end, or ended. */
  onEnd(error: VifdError | undefined): void;
}

export interface WorkerStart {
  readonly process: WorkerProcess;
  readonly remote: RemoteWorker;
}

export interface RunningWorkerParts {
  readonly clock: Clock;
  readonly start: (reports: WorkerReports) => Promise<WorkerStart>;
  /** How long it may take until it says hello. */
  readonly helloMs: number;
  /** See `FleetParts`. */
  readonly memoryOf: (pid: number) => number | undefined;
  readonly schedulingOf: (pid: number) => Scheduling | undefined;
  /** Its abort ends a worker that has not said hello yet. */
  readonly stop: AbortSignal;
  /** How long it may take then to detach: one of an earlier supervisor serves guests. A new one is killed, which is faster. */
  readonly detachMs: number;
  readonly onAttached: (vif: VifId) => void;
  readonly onGone: (worker: RunningWorker, vif: VifId) => void;
  /** Called once, as soon as the worker serves no more, which is before its process is gone. */
  readonly onEnd: (worker: RunningWorker) => void;
  /** Called with ERR_WORKER for a process that does not end although it was killed. */
  readonly onError: (error: VifdError) => void;
}

export interface GreetedWorker {
  readonly worker: RunningWorker;
  readonly hello: Hello;
}

/**
 * How long a worker may be silent. It reports ten times a second that its event loop runs, and the supervisor looks as often: so a hang is
 * noticed within 1 s, and an event loop that stands still for 0.7 s is none.
 */
const SILENT_MS = 850;
/**
 * A worker that waits for a processor, and has run for less than this since it is silent, is not hung: a sound event loop needs less for a turn.
 * Its successor would wait as well.
 */
const TURN_MS = 50;
/** How long a worker may wait for a processor all the same. */
const STARVED_MS = 3000;
/** From this silence on the supervisor observes how long the worker runs. */
const OBSERVED_MS = 200;
/** The same for a worker without vifs: no guest waits for it, and it may be warming up on a busy host. */
const IDLE_SILENT_MS = 10_000;
/**
 * What a worker may have of anonymous memory: six times what was measured, and four times for each vif (docs/processes.md, "Memory"). With a
 * bound that a sound worker exceeds its guests would have a gap again and again.
 */
const MEMORY_BYTES_MAX = 128 << 20;
const VIF_MEMORY_BYTES_MAX = 4 << 20;
/** How long a killed process may stay before that is reported. */
const UNKILLABLE_MS = 750;
/** Pauses between looks whether a killed process has begun to end. */
const FIRST_LOOK_MS = 1;
const MOST_LOOK_MS = 16;

/** A worker as its supervisor sees it: a process, and the link to it. */
export class RunningWorker {
  readonly pid: number;
  readonly remote: RemoteWorker;
  /** Resolves with how the process ended, when the kernel has released all that it had. */
  readonly gone: Promise<string>;
  /** Resolves when the killed process stores nothing any more, as the kernel has it. Its memory and descriptors may not be freed yet. */
  readonly silenced: Promise<void>;
  readonly #parts: RunningWorkerParts;
  readonly #process: WorkerProcess;
  #heardMs: number;
  /** How long it had run when its silence was first observed. */
  #ranMs: number | undefined;
  #greeted = false;
  #load = 0;
  #ended = false;
  #isGone = false;
  #silence: () => void = () => {};
  readonly #looking: Backoff;
  /** Whether the supervisor has asked it to end. */
  #ending = false;
  #killed = false;
  /** Why the supervisor killed it. */
  #why: string | undefined;

  private constructor(parts: RunningWorkerParts, { process, remote }: WorkerStart) {
    this.pid = process.pid;
    this.remote = remote;
    this.#parts = parts;
    this.#process = process;
    this.#heardMs = parts.clock.now();
    void process.dying?.then(() => this.#lost(undefined));
    this.silenced = new Promise((resolve) => {
      this.#silence = resolve;
    });
    this.#looking = new Backoff(parts.clock, () => this.#look(), FIRST_LOOK_MS, MOST_LOOK_MS);
    this.gone = process.gone.then((how) => {
      this.#isGone = true;
      this.#looking.cancel();
      this.#silence();
      // Usually the link's end was seen before.
      this.#over();
      return this.#why === undefined ? how : `${how}: ${this.#why}`;
    });
  }

  /**
   * Starts a worker, or connects to one that runs. Resolves when it has said hello.
   * @throws VifdError ERR_WORKER if it cannot be started, or ends before that.
   */
  static async start(parts: RunningWorkerParts): Promise<GreetedWorker> {
    let greet: (hello: Hello) => void = () => {};
    const greeted = new Promise<Hello>((resolve) => {
      greet = resolve;
    });
    let worker: RunningWorker | undefined;
    // The link may have ended before this function has the worker.
    let lost: { readonly error: VifdError | undefined } | undefined;
    const started = await parts.start({
      onHello: greet,
      onAlive: (load) => {
        if (worker !== undefined) worker.#alive(load);
      },
      onAttached: parts.onAttached,
      onGone: (vif) => {
        if (worker !== undefined) parts.onGone(worker, vif);
      },
      onEnd: (error) => {
        lost = { error };
        if (worker !== undefined) worker.#lost(error);
      },
    });
    worker = new RunningWorker(parts, started);
    if (lost !== undefined) worker.#lost(lost.error);
    const { pid, gone } = worker;
    const early = gone.then((how) => {
      throw new VifdError(
        'ERR_WORKER',
        `The worker ${pid} ended before it could serve (${how}): its log has the reason.`,
      );
    });
    const { clock, helloMs, detachMs, stop } = parts;
    let late = clock.after(helloMs, () => worker.kill(`it did not respond within ${helloMs / 1000} s`));
    const onStop = () => {
      late[Symbol.dispose]();
      if (detachMs === 0) {
        worker.kill('vifd stops');
        return;
      }
      late = clock.after(detachMs, () => worker.kill('vifd stops'));
      worker.#ending = true;
      started.process.signal('SIGTERM');
    };
    stop.addEventListener('abort', onStop);
    if (stop.aborted) onStop();
    // Its link may have ended right behind its hello: its end would then never be reported.
    const living = greeted.then((hello) => (worker.ended ? early : hello));
    const hello = await Promise.race([living, early]).finally(() => {
      late[Symbol.dispose]();
      stop.removeEventListener('abort', onStop);
    });
    // It is gone one day, and then there is no caller to get this error.
    early.catch(() => undefined);
    worker.#greeted = true;
    worker.#heardMs = parts.clock.now();
    return { worker, hello };
  }

  /** Whether it serves no more; its process may not be gone yet. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Whether the kernel has released all that its process had. */
  get isGone(): boolean {
    return this.#isGone;
  }

  /** How much of a core it used lately (0 to 1). */
  get load(): number {
    return this.#load;
  }

  /** Whether it was asked to end: it serves no further vif. */
  get ending(): boolean {
    return this.#ending;
  }

  /** The anonymous memory of its process; undefined if that is gone. */
  get memoryBytes(): number | undefined {
    return this.#parts.memoryOf(this.pid);
  }

  /**
   * Kills a worker that is silent, since its guests wait.
   * @param awakeMs since when the supervisor itself has run without a pause. If it did not run, it could not hear.
   */
  check(awakeMs: number): void {
    if (!this.#greeted || this.#ended || this.#ending) return;
    const silentMs = this.#parts.clock.now() - Math.max(this.#heardMs, awakeMs);
    if (silentMs <= OBSERVED_MS) return;
    const seen = this.#parts.schedulingOf(this.pid);
    this.#ranMs ??= seen?.ranMs;
    if (silentMs <= (this.remote.vifs.size > 0 ? SILENT_MS : IDLE_SILENT_MS)) return;
    const isStarved = seen?.isRunnable === true && seen.ranMs - (this.#ranMs as number) < TURN_MS;
    if (!isStarved || silentMs > STARVED_MS)
      this.kill(`its event loop has not run for ${(silentMs / 1000).toFixed(1)} s`);
  }

  /** Returns why the worker should be replaced: it has more memory than its vifs explain. Undefined if it should not. */
  get excess(): string | undefined {
    if (this.#ended || this.#ending) return undefined;
    const bytes = this.memoryBytes ?? 0;
    const mostBytes = MEMORY_BYTES_MAX + this.remote.vifs.size * VIF_MEMORY_BYTES_MAX;
    if (bytes <= mostBytes) return undefined;
    return `it had ${bytes >> 20} MB of memory, beyond its bound of ${mostBytes >> 20} MB`;
  }

  /** As `end`, for a worker whose guests are to get the next one. @param why what the log says about it. */
  async replace(why: string, withinMs: number): Promise<void> {
    this.#why ??= why;
    await this.end(withinMs);
  }

  /** @param why what the log says about it. */
  kill(why: string): void {
    this.#why ??= why;
    this.#kill();
  }

  /** Asks the worker to detach from every guest and to end. Resolves when it is gone; kills it after `withinMs`. */
  async end(withinMs: number): Promise<void> {
    this.#ending = true;
    const late = this.#parts.clock.after(withinMs, () =>
      this.kill(`it did not end within ${withinMs / 1000} s`),
    );
    // A worker that ends before it responds has ended all the same.
    await this.remote.end().catch(() => undefined);
    await this.gone;
    late[Symbol.dispose]();
  }

  #alive(load: number): void {
    this.#heardMs = this.#parts.clock.now();
    this.#ranMs = undefined;
    this.#load = load;
  }

  /** Called when the link has ended, or the process shows that it dies. A worker that continues has to go, since another one gets its vifs. */
  #lost(error: VifdError | undefined): void {
    if (this.#ended) return;
    if (error !== undefined) this.#why ??= error.message;
    // It closes its link when it has detached, and still has lines of its log to write.
    if (this.#ending) this.#over();
    else this.#kill();
  }

  #kill(): void {
    if (this.#killed) return;
    this.#killed = true;
    this.#process.signal('SIGKILL');
    this.#look();
    this.#over();
    this.#reportUnkillable();
  }

  /** The page alone does not say it: the process may only claim its death there. */
  #look(): void {
    if (this.#isGone) return;
    if (this.#process.isExiting()) this.#silence();
    else this.#looking.again();
  }

  #over(): void {
    if (this.#ended) return;
    this.#ended = true;
    // The descriptor of a tap that it had just made, for example.
    this.remote.receiveRest();
    this.remote[Symbol.dispose]();
    this.#parts.onEnd(this);
  }

  #reportUnkillable(): void {
    const { clock, onError } = this.#parts;
    const timer = clock.after(UNKILLABLE_MS, () => {
      const message =
        `The worker ${this.pid} was killed and does not end, so its guests have no network: it waits in the kernel. See \`dmesg\`; ` +
        'another worker serves them as soon as it is gone.';
      onError(new VifdError('ERR_WORKER', message));
    });
    void this.gone.then(() => timer[Symbol.dispose]());
  }
}
