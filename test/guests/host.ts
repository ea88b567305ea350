import { memoryJournals } from '../../lib/durable/journal.js';
import { Netback } from '../../lib/netback/netback.js';
import type { Vif } from '../../lib/netback/public-vif.js';
import type { XenbusState } from '../../lib/protocol/xenbus.js';
import { ModelHypervisor, ModelKilled, type ModelXen } from '../../lib/testing/model/index.js';
import { createVif, StateWatch, type VifPaths } from '../../lib/testing/netfront/index.js';
import { outcomeOf, settled } from '../../worlds/model/settled.js';
import { TestPort } from '../../worlds/model/test-port.js';

export const DOMID = 7;
const HANDLE = 0;
/** How often a life that was killed is noticed missing. */
const LOOK_MS = 10;

/**
 * A host with one vif on the model. Lives of the backend follow each other at once, as a service manager starts them;
 * one may be killed at a step.
 */
export class Host {
  readonly hypervisor = new ModelHypervisor();
  readonly toolstack: ModelXen = this.hypervisor.open(0);
  readonly ports: TestPort[] = [];
  readonly errors: string[] = [];
  /** Queues that were said to take frames again. */
  readonly recovered: number[] = [];
  /** States that the backend's node went through. */
  readonly states: XenbusState[] = [];
  paths!: VifPaths;
  netback: Netback | undefined;
  /** Steps of all lives together. */
  steps = 0;
  lives = 0;
  readonly #journals = memoryJournals();
  readonly #killAt: ReadonlySet<number>;
  #xen: ModelXen | undefined;

  constructor(killAt: readonly number[] = []) {
    this.#killAt = new Set(killAt);
  }

  /** The toolstack makes the vif; no backend runs yet. */
  async create(script?: string): Promise<void> {
    const vif = { domid: DOMID, handle: HANDLE, mac: '00:16:3e:00:00:07', ...(script && { script }) };
    await settled(
      this.hypervisor,
      createVif(this.toolstack.store, vif).then((paths) => {
        this.paths = paths;
      }),
    );
    const watching = StateWatch.open(this.toolstack.store, `${this.paths.backendPath}/state`).then(
      (watch) => {
        this.states.push(watch.state);
        watch.onChange(() => this.states.push(watch.state));
      },
    );
    await settled(this.hypervisor, watching);
  }

  get vif(): Vif | undefined {
    return this.netback?.vifs.get(`vif${DOMID}.${HANDLE}`);
  }

  get port(): TestPort | undefined {
    return this.ports.at(-1);
  }

  /** A life begins, unless one runs. */
  live(): void {
    if (this.#xen?.alive) return;
    this.lives++;
    const xen = this.hypervisor.open(0, {
      onStep: (what) => {
        this.steps++;
        if (this.#killAt.has(this.steps)) throw new ModelKilled(what);
      },
    });
    this.#xen = xen;
    const port = () => {
      const made = new TestPort();
      this.ports.push(made);
      return made;
    };
    const error = (cause: unknown) => {
      if (xen.alive) this.errors.push(String(cause));
    };
    const recovered = (_vif: Vif, queue: number) => this.recovered.push(queue);
    const options = { xen, port, payload: 'copy', journals: this.#journals } as const;
    Netback.open(options, { error, recovered }).then((netback) => {
      if (xen.alive) this.netback = netback;
    }, error);
  }

  /** SIGKILL; nobody starts it again until `live`. */
  kill(): void {
    this.#xen?.kill();
  }

  /** Lets everything happen that wants to, for so long. A backend that was killed is started again. */
  async run(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += LOOK_MS) {
      this.live();
      await this.hypervisor.advance(LOOK_MS);
    }
  }

  /** @returns whether the guest's work was done in time. @throws what it throws. */
  async done(work: Promise<unknown>, ms: number): Promise<boolean> {
    const outcome = outcomeOf(work);
    for (let passed = 0; passed < ms && !outcome.ended && !outcome.failed; passed += LOOK_MS)
      await this.run(LOOK_MS);
    outcome.check();
    return outcome.ended;
  }

  /** Runs what may enter a life of the backend that ends in it. */
  dare(what: () => void): void {
    try {
      what();
    } catch (error) {
      if (!(error instanceof ModelKilled)) throw error;
    }
  }

  /** Ends the backend in order. On the model this fails when it leaves a mapping, a port or a watch behind. */
  async stop(): Promise<void> {
    const { netback } = this;
    const xen = this.#xen;
    if (netback === undefined || xen === undefined || !xen.alive) return;
    const stopping = netback[Symbol.asyncDispose]().then(() => xen[Symbol.asyncDispose]());
    if (!(await settled(this.hypervisor, stopping))) throw new Error('the backend does not end');
    this.netback = undefined;
  }
}
