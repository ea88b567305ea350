import { addon, errnoName } from '../../lib/addon.js';
import type { VifdError } from '../../lib/errors.js';
import type { Vif } from '../../lib/netback/public-vif.js';
import type { VifId } from '../../lib/netback/vif-info.js';
import type { ModelHypervisor, ModelXen } from '../../lib/testing/model/index.js';
import { LinkKeeper } from '../../lib/workers/link-keeper.js';
import type { WorkerProcess } from '../../lib/workers/running-worker.js';
import { Worker } from '../../lib/workers/worker.js';
import type { Xen } from '../../lib/xen/seam.js';
import type { SimJournals } from '../journals.js';
import { SIM_QUEUES_MAX } from '../scenario.js';
import type { SimGuest } from '../sim-guest.js';
import type { TakeOverPlan, WorkerEnd } from './plan.js';
import type { SimLocks } from './sim-locks.js';

/** From SIGKILL until the process runs no code any more (ms). */
const KILL_MS = 1;
/** From then until the kernel has released all that it had: the memory first, then the descriptors, then the process itself (ms). */
const RELEASE_MS = 3;
const PID_FIRST = 100;

/** What outlives a worker, and what hears of it. */
export interface WorkerHost {
  readonly plan: TakeOverPlan;
  readonly hypervisor: ModelHypervisor;
  readonly journals: SimJournals;
  readonly locks: SimLocks;
  readonly faults: string[];
  /** Whether no process is to be killed any more. */
  readonly stopping: boolean;
  guestOf(id: VifId): SimGuest;
  /** Returns the hypervisor as the worker sees it. */
  seamOf(xen: ModelXen, worker: SimWorker): Xen;
  /** Runs a function after a time, in no process of vifd. */
  later(ms: number, run: () => void): void;
  stepped(worker: SimWorker, what: string): void;
  attached(worker: SimWorker, vif: Vif): void;
  /** The worker runs no more. */
  exited(worker: SimWorker): void;
  complain(worker: SimWorker, error: VifdError): void;
}

/** A worker's process: the real `Worker` on the model, with links of real sockets. */
export class SimWorker {
  readonly number: number;
  readonly pid: number;
  steps = 0;
  /** The step after which it had attached to the first guest; 0 if it has not. */
  attachStep = 0;
  /** Whether it was killed in the middle of its work. */
  killedAtStep = false;
  readonly #world: WorkerHost;
  readonly #end: WorkerEnd | undefined;
  readonly #xen: ModelXen;
  readonly #worker: Worker;
  readonly #keeper: LinkKeeper;
  readonly #gone: Promise<string>;
  readonly #dying: Promise<void>;
  #mark: () => void = () => {};
  #over: (how: string) => void = () => {};
  #isGone = false;

  constructor(world: WorkerHost, number: number, end: WorkerEnd | undefined) {
    this.#world = world;
    this.number = number;
    this.pid = PID_FIRST + number;
    this.#end = end;
    this.#gone = new Promise((resolve) => {
      this.#over = resolve;
    });
    this.#dying = new Promise((resolve) => {
      this.#mark = resolve;
    });
    this.#xen = world.hypervisor.open(0, { onStep: (what) => this.#step(what) });
    const complain = (error: VifdError) => {
      if (this.alive) world.complain(this, error);
    };
    this.#keeper = new LinkKeeper(complain);
    const xen = world.seamOf(this.#xen, this);
    this.#worker = new Worker({
      options: {
        xen,
        journals: world.journals.of((what) => this.step(what)),
        port: ({ id }) => world.guestOf(id).hostPort(this.#xen),
        payload: world.plan.scenario.payload,
        queues: SIM_QUEUES_MAX,
      },
      listeners: {
        attached: (vif) => this.#attached(vif),
        detached: () => {},
        recovered: () => {},
        gone: () => {},
        error: complain,
        mended: () => {},
      },
      keeper: this.#keeper,
      locks: world.locks.of(this),
      onEnd: () => void this.#ends(xen),
    });
  }

  get alive(): boolean {
    return this.#xen.alive;
  }

  /** Whether the next supervisor finds it. */
  get isThere(): boolean {
    return this.alive && !this.#isGone;
  }

  step(what: string): void {
    this.#xen.step(what);
  }

  /** @param isChild whether the supervisor has started it, and so shares a page with it. */
  process(isChild: boolean): WorkerProcess {
    return {
      pid: this.pid,
      gone: this.#gone,
      ...(isChild && this.#end?.sign !== 'link' && { dying: this.#dying }),
      // The wrong order trusts the first sign of a death.
      isExiting: () => !this.alive || this.#world.plan.wrong === 'serves before the fence',
      signal: (name) => {
        if (name === 'SIGKILL') this.#world.later(KILL_MS, () => this.#exit());
      },
    };
  }

  /** Opens a link to this worker. @returns the supervisor's end. */
  link(): number {
    const pair = addon().socketPair();
    if (typeof pair === 'number') throw new Error(errnoName(pair));
    this.#worker.accept(pair[0]);
    return pair[1];
  }

  #attached(vif: Vif): void {
    this.attachStep ||= this.steps;
    this.#world.attached(this, vif);
  }

  #step(what: string): void {
    this.steps += 1;
    this.#world.stepped(this, what);
    if (this.steps !== this.#end?.atStep || this.#world.stopping) return;
    this.killedAtStep = true;
    // Its supervisor hears of it in another process, so not in the middle of this step.
    if (this.#end.sign !== 'link') queueMicrotask(this.#mark);
    if (this.#end.sign !== 'claim') this.#exit();
  }

  /** It runs no code from now on, and has its mappings, channels and locks until the kernel has released them. */
  #exit(): void {
    if (!this.alive) return;
    this.#xen.beginExit();
    // Its code is still there in the simulation, and must send nothing any more.
    this.#close();
    this.#world.exited(this);
    this.#world.later(RELEASE_MS, () => {
      this.#xen.kill();
      this.#isGone = true;
      this.#world.locks.gone(this.pid);
      this.#over('SIGKILL');
    });
  }

  /** A supervisor asked it to end, and it has detached from all guests. */
  async #ends(xen: Xen): Promise<void> {
    if (!this.alive || this.#isGone) return;
    this.#isGone = true;
    this.#close();
    try {
      await xen[Symbol.asyncDispose]();
    } catch (error) {
      this.#world.faults.push(`worker ${this.number} did not end in order: ${error}`);
    }
    this.#world.locks.gone(this.pid);
    this.#over('code 0');
  }

  #close(): void {
    this.#worker[Symbol.dispose]();
    this.#keeper[Symbol.dispose]();
  }
}
