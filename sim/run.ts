import { VifdError } from '../lib/errors.js';
import { Netback } from '../lib/netback/netback.js';
import { ModelHypervisor, ModelKilled, type ModelXen } from '../lib/testing/model/index.js';
import { Random } from '../lib/testing/model/random.js';
import { settled } from '../worlds/model/settled.js';
import { ArenaPool } from './arenas.js';
import { hookOf } from './hook.js';
import { SimJournals } from './journals.js';
import { mortal } from './port.js';
import { type ProcessPlan, type Scenario, SIM_QUEUES_MAX } from './scenario.js';
import { guestOfSeed } from './sent-frames.js';
import { SimGuest } from './sim-guest.js';
import type { StoreLog } from './store-log.js';
import { Trace } from './trace.js';
import { backendXen } from './xen-faults.js';

/** The last process, which runs until no event waits. */
const LAST_PROCESS: ProcessPlan = {
  end: 'stop',
  atStep: Number.POSITIVE_INFINITY,
  lastsMs: 0,
  bursts: ['after'],
  reboot: undefined,
  harm: undefined,
};
/** Time for a late guest to take all frames, and for one with a rate to send all of its frames (ms). */
const REST_MS = 10_000;
/** Time for multicast frames to reach a late guest (ms). */
const PROBE_MS = 200;
/** The next process starts within this time after a kill (ms). */
const SLICE_MS = 1;

/** Runs one run at a time: a run that waits for another one would share memory with it. */
export const arenas = new ArenaPool();

/** The events of a process. */
export interface ProcessRecord {
  readonly plan: ProcessPlan;
  readonly steps: number;
  /** The step after which the first guest was attached; 0 if none was. */
  readonly attachStep: number;
  /** Whether it ended in the middle of its work. */
  readonly killedAtStep: boolean;
}

/** An error that a process reported. */
export interface Complaint {
  readonly process: number;
  readonly code: string;
  readonly vif: string | undefined;
  readonly message: string;
}

export class Run {
  readonly scenario: Scenario;
  readonly guests: SimGuest[];
  readonly processes: ProcessRecord[] = [];
  readonly complaints: Complaint[] = [];
  readonly faults: string[] = [];
  readonly trace = new Trace();
  readonly #hypervisor: ModelHypervisor;
  readonly #toolstack: ModelXen;
  readonly #journals = new SimJournals(arenas);
  readonly #random: Random;
  /** The process that runs, or the last one. */
  #steps = 0;
  readonly #log: StoreLog | undefined;

  /** @param log gets the stores of each step to the journals. */
  constructor(scenario: Scenario, log?: StoreLog) {
    this.scenario = scenario;
    this.#log = log;
    const { faults, order } = scenario;
    this.#hypervisor = new ModelHypervisor({
      ...(order === undefined ? {} : { seed: order }),
      faults: {
        watchesLate: faults.watchesLate,
        ...(faults.grantFailsEvery > 0 ? { grantFailsEvery: faults.grantFailsEvery } : {}),
        ...(faults.strayEventEvery > 0 ? { strayEventEvery: faults.strayEventEvery } : {}),
      },
    });
    this.#toolstack = this.#hypervisor.open(0);
    this.#random = new Random(scenario.seed);
    this.guests = scenario.guests.map(
      (plan, index) =>
        new SimGuest({
          ...{ hypervisor: this.#hypervisor, toolstack: this.#toolstack, arenas, index, plan, faults },
          processNow: () => this.processes.length,
          stepNow: () => this.#steps,
          ownerOf: (seed) => guestOfSeed(seed, scenario.guests.length),
        }),
    );
  }

  async all(): Promise<void> {
    for (const guest of this.guests) await guest.create();
    for (const plan of this.scenario.processes) {
      const record = await this.#runProcess(plan);
      this.processes.push(record);
      await this.#between(record);
    }
    this.processes.push(await this.#runProcess(LAST_PROCESS));
  }

  async #runProcess(plan: ProcessPlan): Promise<ProcessRecord> {
    const hypervisor = this.#hypervisor;
    const number = this.processes.length;
    this.#steps = 0;
    let attachStep = 0;
    let stopping: Promise<void> | undefined;
    const xen = hypervisor.open(0, {
      onStep: (what) => {
        this.#steps += 1;
        const steps = this.#steps;
        this.trace.step(number, steps, this.#log?.look(number, steps, what, this.#journals.pages) ?? what);
        if (steps !== plan.atStep) return;
        if (plan.end === 'kill') {
          this.#journals.tamper(plan.tampered ?? []);
          throw new ModelKilled(what);
        }
        queueMicrotask(() => {
          stopping ??= stop();
        });
      },
    });
    const opening = this.#open(xen, number, () => {
      attachStep ||= this.#steps;
    });
    const stop = () => opening.then((netback) => netback?.[Symbol.asyncDispose]());
    for (const when of plan.bursts) {
      if (when === 'between') continue;
      // Frames of the burst `before` wait when the process starts, because it has read no ring yet.
      if (when === 'after') await hypervisor.settle();
      for (const guest of this.guests) guest.burst();
    }
    if (plan === LAST_PROCESS) for (const guest of this.guests) guest.begunLast();
    await this.#pass(plan === LAST_PROCESS ? REST_MS : plan.lastsMs, xen);
    await this.#probe(xen, () => xen.alive && stopping === undefined);
    const killedAtStep = !xen.alive;
    if (plan.reboot?.when === 'served') await this.#reboot(plan, xen.alive);
    if (plan.end === 'kill') hypervisor.kill(xen);
    else if (xen.alive) {
      stopping ??= stop();
      await this.#stopped(stopping, xen, number);
    }
    await hypervisor.settle();
    for (const guest of this.guests) guest.processEnded();
    return { plan, steps: this.#steps, attachStep, killedAtStep };
  }

  /** Advances the time. While a guest has a rate, no time passes without a process. */
  async #pass(ms: number, xen: ModelXen): Promise<void> {
    const hasRate = this.scenario.guests.some(({ rate }) => rate !== undefined);
    const sliceMs = hasRate && ms < REST_MS ? SLICE_MS : ms;
    let passedMs = 0;
    do {
      await this.#hypervisor.advance(Math.min(sliceMs, ms - passedMs));
      passedMs += sliceMs;
    } while (passedMs < ms && xen.alive);
  }

  /** Call it when no event waits. @param isWhole whether the process is neither killed nor stopping. */
  async #probe(xen: ModelXen, isWhole: () => boolean): Promise<void> {
    if (!isWhole()) return;
    const probed: SimGuest[] = [];
    for (const guest of this.guests)
      mortal(xen, () => {
        if (guest.probe()) probed.push(guest);
      });
    if (probed.length === 0) return;
    await this.#hypervisor.advance(PROBE_MS);
    for (const guest of probed) guest.judgeProbes(!isWhole());
  }

  async #open(xen: ModelXen, process: number, onAttached: () => void): Promise<Netback | undefined> {
    const { payload, journal, hook, faults } = this.scenario;
    const complain = (error: unknown) => {
      // A killed process reports nothing.
      if (xen.alive) this.#complain(process, error);
    };
    const frameHook = hookOf(hook, this.guests);
    try {
      return await Netback.open(
        {
          xen: backendXen(xen, arenas, faults, (path) => this.#touch(path)),
          port: ({ id }) => this.guests.find(({ vif }) => vif === id)!.hostPort(xen),
          payload,
          queues: SIM_QUEUES_MAX,
          journals: journal && this.#journals.of((what) => xen.step(what)),
          ...(frameHook === undefined ? {} : { hook: frameHook }),
        },
        {
          error: complain,
          attached: (vif) => {
            const guest = this.guests.find((one) => one.vif === vif.id);
            guest?.attached(vif);
            // The vif drops old frames once its listeners have run.
            queueMicrotask(() => {
              if (xen.alive) guest?.begun();
            });
            onAttached();
          },
        },
      );
    } catch (error) {
      complain(error);
      return undefined;
    }
  }

  #complain(process: number, error: unknown): void {
    const known = error instanceof VifdError ? error : undefined;
    const message = error instanceof Error ? error.message : String(error);
    this.complaints.push({ process, code: known?.code ?? 'unknown', vif: known?.vif, message });
  }

  /** Writes a node from outside with the value that it has. */
  async #touch(path: string): Promise<void> {
    const value = await this.#toolstack.store.read(path);
    if (value !== undefined) await this.#toolstack.store.write(path, value);
  }

  /** Ends the process in order, and checks that it has released everything. */
  async #stopped(stopping: Promise<void>, xen: ModelXen, process: number): Promise<void> {
    const end = stopping.then(() => xen[Symbol.asyncDispose]());
    try {
      if (!(await settled(this.#hypervisor, end))) this.faults.push(`process ${process} does not end`);
    } catch (error) {
      this.faults.push(`process ${process} did not end in order: ${error}`);
    }
  }

  /** Called while no backend runs. */
  async #between({ plan, killedAtStep }: ProcessRecord): Promise<void> {
    const process = this.processes.length - 1;
    for (const guest of this.guests) {
      // Without a journal the next process cannot know the state of a batch that was being handled.
      if (this.#journals.refuses(guest.vif) && killedAtStep) guest.torn = true;
      if (!this.#journals.refuses(guest.vif)) continue;
      guest.harmed = true;
      guest.spoil(process);
    }
    this.#journals.relent();
    if (plan.harm !== undefined) {
      const guest = this.guests[plan.harm.guest];
      guest.harmed = true;
      guest.spoil(process);
      const spoilt = this.#journals.spoil(guest.vif, plan.harm.how, this.#random);
      if (spoilt && killedAtStep) guest.torn = true;
      if (spoilt && plan.harm.how === 'flip') guest.flipped = true;
    }
    if (plan.bursts.includes('between')) for (const guest of this.guests) guest.hostSends();
    if (plan.reboot?.when === 'alone') await this.#reboot(plan, false);
  }

  /** @param served whether a backend runs meanwhile. Without one, the journal is lost with the connection, and so are pending frames. */
  async #reboot({ reboot }: ProcessPlan, served: boolean): Promise<void> {
    const guest = this.guests[reboot?.guest ?? 0];
    if (!served) guest.spoil(this.processes.length);
    this.trace.note(`${guest.vif} ${reboot?.how}`);
    await guest.reboot(reboot?.how ?? 'dies');
    await this.#hypervisor.settle();
  }
}
