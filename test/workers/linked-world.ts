import { closeSync, openSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import type { VifdError } from '../../lib/errors.js';
import { LocalKeeper } from '../../lib/host/local-keeper.js';
import type { VifLocks } from '../../lib/host/vif-locks.js';
import type { Admission, Named, VifPlace } from '../../lib/netback/vif/directory.js';
import { Discovery, type VifServer } from '../../lib/netback/vif/discovery.js';
import type { VifId } from '../../lib/netback/vif-info.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { ChannelStore } from '../../lib/workers/channel-store.js';
import { LinkKeeper } from '../../lib/workers/link-keeper.js';
import { RemoteVifs } from '../../lib/workers/remote-vifs.js';
import { Worker } from '../../lib/workers/worker.js';
import type { Xen } from '../../lib/xen/seam.js';
import { modelMachine } from '../../worlds/model/machine.js';
import { World } from '../../worlds/model/raw-world.js';
import { TestPort } from '../../worlds/model/test-port.js';
import { inodeOf } from '../host/descriptors.js';

/** How often `until` looks, which is after as many turns of the event loop. */
const LOOKS_MAX = 500;
/** Turns in which nothing may happen: a message takes one for each hop. */
const QUIET_TURNS = 8;

const rethrow = (error: Error) => {
  throw error;
};

/** A worker's process. Its ports have a descriptor each, of /dev/zero, as taps have. */
export class TestWorker {
  readonly worker: Worker;
  readonly events: string[] = [];
  readonly keeper = new LinkKeeper(rethrow);
  /** The inodes of the descriptors that ports took from the keeper, by name. */
  readonly taken = new Map<string, bigint>();
  readonly ports = new Map<VifId, TestPort>();
  accepts: boolean | Promise<boolean> = true;
  ended = 0;
  readonly #xen: Xen;
  readonly #kill: () => void;
  readonly #descriptors: number[] = [];

  constructor(world: LinkedWorld, xen: Xen, locks?: VifLocks) {
    this.#xen = xen;
    this.#kill = () => world.machine.kill(xen);
    this.worker = new Worker({
      options: {
        xen,
        journals: world.journals,
        accept: () => this.accepts,
        port: ({ id }) => this.#port(world, id),
      },
      listeners: {
        attached: ({ id }, { resumed }) => this.events.push(`${id} ${resumed ? 'resumed' : 'attached'}`),
        detached: ({ id }, why) => this.events.push(`${id} detached: ${why}`),
        recovered: ({ id }) => this.events.push(`${id} recovered`),
        gone: ({ id }) => this.events.push(`${id} gone`),
        error: ({ code }, vif) => this.events.push(`${vif?.id ?? 'worker'} ${code}`),
        mended: ({ code }, vif) => this.events.push(`${vif?.id ?? 'worker'} mended ${code}`),
      },
      keeper: this.keeper,
      locks,
      onEnd: () => this.ended++,
    });
  }

  /** SIGKILL. */
  kill(): void {
    this.#kill();
    this.#close();
  }

  /** Detaches from all guests. On the model this fails if it leaves a mapping, a port or a watch behind. */
  async stop(): Promise<void> {
    await this.worker.detach();
    await this.#xen[Symbol.asyncDispose]();
    this.#close();
  }

  #close(): void {
    this.worker[Symbol.dispose]();
    this.keeper[Symbol.dispose]();
    for (const descriptor of this.#descriptors.splice(0)) closeSync(descriptor);
  }

  #port(world: LinkedWorld, id: VifId): TestPort {
    const taken = this.keeper.take(id);
    if (taken !== undefined) this.taken.set(id, inodeOf(taken));
    const descriptor = taken ?? openSync('/dev/zero', 'r');
    this.#descriptors.push(descriptor);
    if (taken === undefined) this.keeper.keep(id, descriptor);
    const port = world.ports.get(id) ?? new TestPort();
    port.remove = async () => this.keeper.forget(id);
    world.ports.set(id, port);
    return port;
  }
}

/** A supervisor's process: finds the vifs, and gives all of them to one worker. */
export class TestSupervisor implements VifServer {
  readonly remote: RemoteVifs;
  readonly events: string[] = [];
  readonly ends: (VifdError | undefined)[] = [];
  readonly loads: number[] = [];
  readonly kept = new LocalKeeper(rethrow);
  readonly channels = new ChannelStore();
  readonly discovery: Discovery;
  readonly #xen: Xen;

  constructor(xen: Xen, descriptor: number) {
    this.#xen = xen;
    this.remote = new RemoteVifs(descriptor, {
      onHello: ({ vifs }) => {
        this.events.push(`hello ${vifs.join(' ')}`.trimEnd());
        this.remote.confirm(vifs);
      },
      onAttached: (vif, { resumed }) => this.events.push(`${vif} ${resumed ? 'resumed' : 'attached'}`),
      onDetached: (vif, why) => this.events.push(`${vif} detached: ${why}`),
      onChanged: (vif) => {
        const { state, reason } = this.remote.vifs.get(vif)!;
        this.events.push(`${vif} is ${state}${reason === undefined ? '' : `: ${reason}`}`);
      },
      onGone: (vif) => {
        this.events.push(`${vif} gone`);
        const [domid, handle] = vif.slice('vif'.length).split('.').map(Number);
        this.discovery.lookAt({ domid, handle });
      },
      onLookAgain: () => void this.discovery.look(),
      onKeep: (name, one) => {
        this.events.push(`keep ${name}`);
        this.kept.own(name, one);
      },
      onForget: (name) => {
        this.events.push(`forget ${name}`);
        this.kept.forget(name);
      },
      onKeepChannels: (vif, kept) => {
        this.events.push(`keep channels ${vif}`);
        this.channels.own(vif, kept);
      },
      onForgetChannels: (vif) => {
        this.events.push(`forget channels ${vif}`);
        this.channels.forget(vif);
      },
      onAlive: (load) => this.loads.push(load),
      onEnd: (error) => this.ends.push(error),
    });
    this.discovery = new Discovery({ xen, server: this, onError: rethrowUnlessAway, onMended: () => {} });
  }

  isServed(id: VifId): boolean {
    return this.remote.vifs.has(id);
  }

  domids(): ReadonlySet<number> {
    return new Set([...this.remote.vifs.keys()].map((id) => Number(/\d+/.exec(id)![0])));
  }

  found(place: VifPlace, connectedOnly: boolean): Promise<Admission> {
    const stored = this.kept.get(place.id);
    const descriptors = stored === undefined ? undefined : new Map([[place.id, stored]]);
    return this.remote.found(place, connectedOnly, descriptors);
  }

  changed(path: string, named: Named): void {
    this.remote.changed(path, named);
  }

  domainGone(domid: number): void {
    this.remote.domainGone(domid);
  }

  storeReturned(): void {
    this.remote.storeReturned();
  }

  /** @returns the events since the last call. */
  take(): string[] {
    return this.events.splice(0);
  }

  async stop(): Promise<void> {
    this.remote[Symbol.dispose]();
    await this.discovery.close();
    await this.#xen[Symbol.asyncDispose]();
    this.kept[Symbol.dispose]();
    this.channels[Symbol.dispose]();
  }
}

function rethrowUnlessAway(error: VifdError): void {
  if (error.code !== 'ERR_STORE_GONE') throw error;
}

/**
 * Processes of vifd in one process, on the model: each has its own connections to hypervisor and store. The links between them are real. `calm`
 * takes the place of `settle`, which does not wait for links.
 */
export class LinkedWorld extends World {
  readonly hypervisor: ModelHypervisor;
  readonly #ends: { stop(): Promise<void> }[] = [];

  private constructor(hypervisor: ModelHypervisor) {
    super(modelMachine(hypervisor), hypervisor.open(0));
    this.hypervisor = hypervisor;
  }

  static make(): LinkedWorld {
    return new LinkedWorld(new ModelHypervisor());
  }

  async worker(locks?: VifLocks): Promise<TestWorker> {
    const worker = new TestWorker(this, await this.machine.open(0), locks);
    this.#ends.push(worker);
    return worker;
  }

  async supervisor(descriptor: number): Promise<TestSupervisor> {
    const supervisor = new TestSupervisor(await this.machine.open(0), descriptor);
    this.#ends.push(supervisor);
    return supervisor;
  }

  /** Ends a process before the world does. */
  async end(process: TestWorker | TestSupervisor): Promise<void> {
    this.forget(process);
    await this.during(process.stop());
  }

  /** The test has ended this process. */
  forget(process: TestWorker | TestSupervisor): void {
    this.#ends.splice(this.#ends.indexOf(process), 1);
  }

  /** Waits until all messages and events are handled. */
  async calm(): Promise<void> {
    for (let i = 0; i < QUIET_TURNS; i++) {
      await this.settle();
      await turn();
    }
  }

  /** Waits for work that needs messages and events. */
  async during<T>(work: Promise<T>): Promise<T> {
    let done = false;
    const ended = work.finally(() => {
      done = true;
    });
    ended.catch(() => {});
    for (let i = 0; i < LOOKS_MAX && !done; i++) {
      await this.settle();
      await turn();
    }
    if (!done) throw new Error('the work does not end');
    return ended;
  }

  override async close(): Promise<void> {
    for (const one of this.#ends.splice(0).reverse()) await this.during(one.stop());
    await super.close();
  }
}
