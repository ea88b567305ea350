import type { VifdError } from '../../lib/errors.js';
import type { VifPlace } from '../../lib/netback/vif/directory.js';
import { Discovery } from '../../lib/netback/vif/discovery.js';
import type { VifId } from '../../lib/netback/vif-info.js';
import { type ModelHypervisor, ModelKilled, type ModelXen } from '../../lib/testing/model/index.js';
import { ChannelStore } from '../../lib/workers/channel-store.js';
import { Fleet } from '../../lib/workers/fleet.js';
import { RemoteVifs } from '../../lib/workers/remote-vifs.js';
import type { RemoteWorker, WorkerReports, WorkerStart } from '../../lib/workers/running-worker.js';
import { Supervisor } from '../../lib/workers/supervisor.js';
import type { StoredEvents } from '../../lib/xen/seam.js';
import { handleDescriptors } from '../../worlds/model/handle-descriptors.js';
import type { TakeOverPlan } from './plan.js';
import type { SimLocks } from './sim-locks.js';
import type { SimWorker } from './sim-worker.js';

/** What outlives a supervisor, and what hears of it. */
export interface SupervisorHost {
  readonly plan: TakeOverPlan;
  readonly hypervisor: ModelHypervisor;
  readonly locks: SimLocks;
  readonly faults: string[];
  /** Whether no process is to be killed any more. */
  readonly stopping: boolean;
  /** The workers that run. */
  readonly living: readonly SimWorker[];
  startWorker(): SimWorker;
  placeOf(id: VifId): VifPlace;
  supervisorStepped(step: number, what: string): void;
  supervisorKilled(supervisor: SimSupervisor): void;
  complain(worker: undefined, error: VifdError): void;
}

/** A supervisor's process: the real `Supervisor`, `Fleet` and `Discovery` on the model. It may be killed before each of its actions. */
export class SimSupervisor {
  steps = 0;
  readonly #world: SupervisorHost;
  readonly #atStep: number | undefined;
  readonly #xen: ModelXen;
  readonly #channels = new ChannelStore();
  readonly #remotes = new Set<RemoteVifs>();
  readonly #fleet: Fleet;
  readonly #supervisor: Supervisor;
  readonly #discovery: Discovery;
  /** Descriptors that the code has taken out of the store, and not closed yet. */
  readonly #inHand = new Set<number>();

  constructor(world: SupervisorHost, atStep: number | undefined) {
    this.#world = world;
    this.#atStep = atStep;
    this.#xen = world.hypervisor.open(0, { onStep: (what) => this.#step(what) });
    const { clock } = this.#xen;
    const complain = (error: VifdError) => {
      if (this.alive) world.complain(undefined, error);
    };
    const log = {
      error: complain,
      mended: () => {},
      tookOver: () => this.#act('log of a take-over', () => {}),
      parked: (vif: string) => world.faults.push(`${vif} is parked`),
      workerStarted: () => {},
      workerDied: () => {},
    };
    this.#fleet = new Fleet({
      clock,
      log,
      memoryOf: () => undefined,
      schedulingOf: () => undefined,
      start: async (reports) =>
        this.#act('start of a worker', () => this.#linked(world.startWorker(), true, reports)) ??
        new Promise(() => {}),
      onAttached: (vif) => this.#supervisor.attached(vif),
      onGone: (worker, vif) => this.#supervisor.gone(worker, vif),
      onDied: (worker) => this.#act('end of a worker', () => this.#supervisor.died(worker)) ?? [],
    });
    this.#supervisor = new Supervisor({
      clock,
      log,
      workers: 1,
      fleet: this.#fleet,
      oomKills: () => 0,
      mapsFrames: world.plan.scenario.payload === 'map',
      descriptorsOf: () => new Map(),
      channels: {
        has: (vif) => this.#channels.has(vif),
        take: (vif) => this.#act(`take of channels of ${vif}`, () => this.#taken(vif)),
        forget: (vif) => void this.#act(`forget channels of ${vif}`, () => this.#channels.forget(vif)),
      },
      isThere: async () => true,
      onUnserved: (place) => void this.#act(`look at ${place.id}`, () => this.#discovery.lookAt(place)),
    });
    this.#discovery = new Discovery({
      xen: this.#xen,
      server: this.#supervisor,
      onError: complain,
      onMended: () => {},
    });
  }

  get alive(): boolean {
    return this.#xen.alive;
  }

  /** Continues with the workers that are there, and has a standby. */
  async begin(): Promise<void> {
    try {
      await Promise.all(this.#world.living.map((one) => this.#adopt(one)));
      await this.#discovery.open();
      this.#fleet.begin();
    } catch (error) {
      if (this.alive) throw error;
    }
  }

  /** Ends all workers in order, and then itself. */
  async end(): Promise<void> {
    this.#supervisor.end();
    await Promise.all([this.#discovery.close(), this.#fleet.end()]);
    await this.#xen[Symbol.asyncDispose]();
    this.close();
  }

  /** Closes its descriptors, as the kernel does at its end. */
  close(): void {
    for (const remote of this.#remotes) remote[Symbol.dispose]();
    this.#channels[Symbol.dispose]();
    for (const descriptor of this.#inHand) handleDescriptors.close(descriptor);
    this.#inHand.clear();
  }

  #step(what: string): void {
    this.steps += 1;
    this.#world.supervisorStepped(this.steps, what);
    if (this.steps !== this.#atStep || this.#world.stopping) return;
    this.#xen.beginExit();
    this.close();
    this.#world.supervisorKilled(this);
    this.#xen.kill();
    throw new ModelKilled(what);
  }

  /**
   * Does what other processes observe, as a step. Not in a killed supervisor, whose code is still there in the simulation: then it returns
   * undefined.
   */
  #act<T>(what: string, act: () => T): T | undefined {
    if (!this.alive) return undefined;
    try {
      this.#xen.step(what);
    } catch (error) {
      // The callers have no use for it: some are callbacks of the event loop.
      if (error instanceof ModelKilled) return undefined;
      throw error;
    }
    return act();
  }

  async #adopt(one: SimWorker): Promise<void> {
    const { worker } = await this.#fleet
      .adopt(async (reports) => this.#linked(one, false, reports))
      .catch((error) => {
        // It was killed meanwhile.
        if (one.isThere && this.alive) throw error;
        return { worker: undefined };
      });
    if (worker === undefined) return;
    const { locks } = this.#world;
    const places = [...worker.remote.vifs.keys()]
      .map((id) => this.#world.placeOf(id))
      .filter((place) => locks.holder(place) === one.pid);
    worker.remote.confirm(places.map(({ id }) => id));
    if (places.length === 0) this.#fleet.giveBack(worker);
    else this.#supervisor.adopt(worker, places);
  }

  #linked(one: SimWorker, isChild: boolean, reports: WorkerReports): WorkerStart {
    const process = one.process(isChild);
    const remote = new RemoteVifs(one.link(), {
      ...reports,
      onDetached: () => {},
      onChanged: () => {},
      onLookAgain: () => void this.#discovery.look(),
      onKeep: (_name, descriptor) => handleDescriptors.close(descriptor),
      onForget: () => {},
      onKeepChannels: (vif, stored) => {
        const isOwned = this.#act(`own channels of ${vif}`, () => {
          this.#channels.own(vif, stored);
          return true;
        });
        if (!isOwned) handleDescriptors.close(stored.descriptor);
      },
      onForgetChannels: (vif) => this.#channels.forget(vif),
    });
    this.#remotes.add(remote);
    return {
      process: {
        ...process,
        signal: (name) => void this.#act(`${name} to worker ${one.number}`, () => process.signal(name)),
      },
      remote: this.#stepping(remote, one),
    };
  }

  /** A link whose requests are steps. Those of a killed supervisor are never sent, and get no response. */
  #stepping(remote: RemoteVifs, { number }: SimWorker): RemoteWorker {
    const asked = <T>(what: string, ask: () => Promise<T>): Promise<T> =>
      this.#act(`${what} of worker ${number}`, ask) ?? new Promise(() => {});
    return {
      vifs: remote.vifs,
      found: (place, connectedOnly, descriptors, after) =>
        asked('found', () => {
          // The code closes them as soon as they are sent.
          if (after.channels !== undefined) this.#inHand.delete(after.channels.descriptor);
          return remote.found(place, connectedOnly, descriptors, after);
        }),
      show: (vif) => remote.show(vif),
      forget: (vif) => remote.forget(vif),
      end: () => asked('end', () => remote.end()),
      changed: (path, named) => this.#act('changed', () => remote.changed(path, named)),
      domainGone: (domid) => remote.domainGone(domid),
      storeReturned: () => remote.storeReturned(),
      confirm: (vifs) => this.#act('confirm', () => remote.confirm(vifs)),
      receiveRest: () => remote.receiveRest(),
      [Symbol.dispose]: () => remote[Symbol.dispose](),
    };
  }

  /** Takes channels out of the store, for the next worker. */
  #taken(vif: VifId): StoredEvents | undefined {
    const stored = this.#channels.take(vif);
    if (stored === undefined) return undefined;
    this.#inHand.add(stored.descriptor);
    if (this.#world.plan.wrong === 'keeps the channels that the next worker got')
      this.#inHand.add(handleDescriptors.duplicate(stored.descriptor));
    return stored;
  }
}
