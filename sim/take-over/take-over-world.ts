import { setImmediate as turn } from 'node:timers/promises';
import { VifdError } from '../../lib/errors.js';
import type { Vif } from '../../lib/netback/public-vif.js';
import type { VifPlace } from '../../lib/netback/vif/directory.js';
import type { VifId } from '../../lib/netback/vif-info.js';
import { backendVifPath } from '../../lib/protocol/xenbus.js';
import { ModelHypervisor, type ModelXen } from '../../lib/testing/model/index.js';
import type { Xen } from '../../lib/xen/seam.js';
import { handleDescriptors } from '../../worlds/model/handle-descriptors.js';
import { SimJournals } from '../journals.js';
import { type Happened, judge } from '../judge.js';
import { arenas, type Complaint, type ProcessRecord } from '../run.js';
import type { ProcessPlan } from '../scenario.js';
import { guestOfSeed } from '../sent-frames.js';
import { SimGuest } from '../sim-guest.js';
import { Trace } from '../trace.js';
import { backendXen } from '../xen-faults.js';
import type { TakeOverPlan } from './plan.js';
import { SimLocks } from './sim-locks.js';
import { SimSupervisor, type SupervisorHost } from './sim-supervisor.js';
import { SimWorker, type WorkerHost } from './sim-worker.js';
import { mistaken } from './wrong-take-overs.js';

/** The links are sockets: a message needs a turn of the event loop, and its response another. In so many turns nothing may happen. */
const QUIET_TURNS = 4;
/** How long a run waits for the guests' frames before it judges (ms). */
const REST_MS = 3000;
/** How long it waits at least: for take-overs that are under way. */
const REST_LEAST_MS = 15;
/** Take-overs end within this time, and what waits longer is looked at less often (ms). */
const FINE_MS = 60;
const COARSE_STEP_MS = 20;
/** From the death of a supervisor to the start of the next (ms). */
const RESTART_MS = 5;

/** A worker that serves, and then another one: each is a process of the record. */
interface Turn {
  readonly worker: SimWorker;
  attachStep: number;
}

/** Guests, workers and supervisors of one run. */
export class TakeOverWorld implements Happened, WorkerHost, SupervisorHost {
  readonly plan: TakeOverPlan;
  readonly hypervisor: ModelHypervisor;
  readonly journals = new SimJournals(arenas);
  readonly locks = new SimLocks();
  readonly guests: readonly SimGuest[];
  readonly complaints: Complaint[] = [];
  readonly faults: string[] = [];
  readonly trace = new Trace();
  readonly workers: SimWorker[] = [];
  /** By worker, and of the first supervisor: the steps until all are asked to end. */
  served: readonly Pick<SimWorker, 'steps' | 'attachStep'>[] = [];
  supervisorSteps = 0;
  /** Nothing is killed from then on: no process would serve the guests after it. */
  stopping = false;
  readonly #toolstack: ModelXen;
  readonly #turns: Turn[] = [];
  #supervisor: SimSupervisor;

  constructor(plan: TakeOverPlan) {
    const { scenario } = plan;
    this.plan = plan;
    this.hypervisor = new ModelHypervisor({
      ...(scenario.order === undefined ? {} : { seed: scenario.order }),
      descriptors: handleDescriptors,
    });
    this.#toolstack = this.hypervisor.open(0);
    this.guests = scenario.guests.map(
      (guest, index) =>
        new SimGuest({
          ...{ hypervisor: this.hypervisor, toolstack: this.#toolstack, arenas, index, plan: guest },
          faults: scenario.faults,
          processNow: () => Math.max(0, this.#turns.length - 1),
          stepNow: () => this.#turns.at(-1)?.worker.steps ?? 0,
          ownerOf: (seed) => guestOfSeed(seed, scenario.guests.length),
        }),
    );
    this.#supervisor = new SimSupervisor(this, plan.supervisorAtStep);
  }

  get scenario(): TakeOverPlan['scenario'] {
    return this.plan.scenario;
  }

  /** The workers that served, in their order. */
  get processes(): readonly ProcessRecord[] {
    return this.#turns.map(({ worker, attachStep }) => ({
      plan: planOf(worker),
      steps: worker.steps,
      attachStep,
      killedAtStep: worker.killedAtStep,
    }));
  }

  /** The workers that run. */
  get living(): readonly SimWorker[] {
    return this.workers.filter(({ isThere }) => isThere);
  }

  async all(): Promise<void> {
    for (const guest of this.guests) await guest.create();
    await this.#pass(1);
    void this.#begin();
    await this.#passUntil(() => this.#turns.some(({ attachStep }) => attachStep > 0), REST_MS);
    this.#burst();
    await this.#pass(REST_LEAST_MS);
    await this.#passUntil(() => this.guests.every(({ still }) => still), REST_MS);
    // What is served must still be served: the events of the last take-over may be lost.
    this.#burst();
    await this.#pass(REST_LEAST_MS);
    // A frame that seems to be lost may be pending for a guest that is late.
    await this.#passUntil(() => judge(this).faults.length === 0, REST_MS);
    await this.#stop();
  }

  startWorker(): SimWorker {
    const number = this.workers.length;
    const worker = new SimWorker(this, number, this.plan.workers[number]);
    this.workers.push(worker);
    return worker;
  }

  guestOf(id: VifId): SimGuest {
    return this.guests.find(({ vif }) => vif === id) as SimGuest;
  }

  placeOf(id: VifId): VifPlace {
    const { domid } = this.guestOf(id);
    return { id, domid, handle: 0, path: backendVifPath(0, domid, 0) };
  }

  seamOf(xen: ModelXen, worker: SimWorker): Xen {
    const seam = backendXen(xen, arenas, this.scenario.faults, async () => {});
    return worker.number === 0 ? seam : mistaken(seam, this.plan.wrong);
  }

  later(ms: number, run: () => void): void {
    this.#toolstack.clock.after(ms, run);
  }

  /** Called at each step of a worker. One that runs after the next one has begun is a fault: both would respond to the same requests. */
  stepped(worker: SimWorker, what: string): void {
    const turn = this.#turns.findIndex((one) => one.worker === worker);
    this.trace.step(worker.number, worker.steps, what);
    if (turn >= 0 && turn < this.#turns.length - 1)
      this.faults.push(`worker ${worker.number} runs (${what}) after the next one has begun`);
    if (turn >= 0 || what !== 'grants.map') return;
    // For a worker that would still act.
    if (this.#turns.at(-1)?.worker.alive) this.later(0, () => this.#burst());
    this.#turns.push({ worker, attachStep: 0 });
  }

  attached(worker: SimWorker, vif: Vif): void {
    const guest = this.guestOf(vif.id);
    const turn = this.#turns.at(-1);
    if (turn?.worker === worker) turn.attachStep ||= worker.steps;
    guest.attached(vif);
    queueMicrotask(() => {
      if (worker.alive) guest.begun();
    });
  }

  /** A worker runs no more. Guest and host continue to send. */
  exited(worker: SimWorker): void {
    this.trace.note(`worker ${worker.number} is killed`);
    if (this.#turns.at(-1)?.worker !== worker) return;
    for (const guest of this.guests) guest.processEnded();
    this.later(0, () => this.#burst());
  }

  supervisorStepped(step: number, what: string): void {
    this.trace.note(`supervisor step ${step}: ${what}`);
  }

  supervisorKilled({ steps }: SimSupervisor): void {
    this.supervisorSteps = steps;
    this.trace.note('the supervisor is killed');
    this.later(RESTART_MS, () => {
      this.#supervisor = new SimSupervisor(this, undefined);
      void this.#begin();
    });
  }

  complain(worker: SimWorker | undefined, error: unknown): void {
    const known = error instanceof VifdError ? error : undefined;
    const message = error instanceof Error ? error.message : String(error);
    const process = this.#turns.findIndex((one) => one.worker === worker);
    this.complaints.push({ process, code: known?.code ?? 'unknown', vif: known?.vif, message });
  }

  async #begin(): Promise<void> {
    try {
      await this.#supervisor.begin();
    } catch (error) {
      this.faults.push(`a supervisor cannot begin: ${error}`);
    }
  }

  #burst(): void {
    for (const guest of this.guests) guest.burst();
  }

  /** Lets time pass, with the messages of all links at each moment. */
  async #pass(ms: number): Promise<void> {
    for (let passedMs = 0; passedMs < ms; passedMs++) {
      await this.#quiet();
      await this.hypervisor.advance(1);
    }
    await this.#quiet();
  }

  async #passUntil(holds: () => boolean, mostMs: number): Promise<void> {
    let passedMs = 0;
    while (passedMs < mostMs && !holds()) {
      const ms = passedMs < FINE_MS ? 1 : COARSE_STEP_MS;
      await this.#quiet();
      await this.hypervisor.advance(ms);
      passedMs += ms;
    }
    await this.#quiet();
  }

  async #quiet(): Promise<void> {
    for (let i = 0; i < QUIET_TURNS; i++) {
      await this.hypervisor.settle();
      await turn();
    }
  }

  async #stop(): Promise<void> {
    this.stopping = true;
    this.served = this.workers.map(({ steps, attachStep }) => ({ steps, attachStep }));
    this.supervisorSteps ||= this.#supervisor.steps;
    let ended = false;
    const end = this.#supervisor.end().then(
      () => {
        ended = true;
      },
      (error) => {
        this.faults.push(`the supervisor did not end in order: ${error}`);
      },
    );
    await this.#passUntil(() => ended, REST_MS);
    if (!ended) this.faults.push('the supervisor does not end');
    else await end;
    await this.hypervisor.settle();
  }
}

/** As the other simulation's records have it. */
function planOf({ killedAtStep, steps }: SimWorker): ProcessPlan {
  const end = killedAtStep ? 'kill' : 'stop';
  return { end, atStep: steps, lastsMs: 0, bursts: ['after'], reboot: undefined, harm: undefined };
}
