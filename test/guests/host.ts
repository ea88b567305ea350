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
/** How often the host checks whether the backend was killed. */
const LOOK_MS = 10;

/**
 * A host with one vif on the model. It starts a backend process again when the last was killed, as a service manager does. `killAt` has the
 * steps before which a process is killed, counted over all processes.
 */
export class Host {
  readonly hypervisor = new ModelHypervisor();
  readonly toolstack: ModelXen = this.hypervisor.open(0);
  readonly ports: TestPort[] = [];
  readonly errors: string[] = [];
  /** Queues that were reported to take frames again. */
  readonly recovered: number[] = [];
  /** States that the backend's node went through. */
  readonly states: XenbusState[] = [];
  paths!: VifPaths;
  netback: Netback | undefined;
  /** Steps of all processes together. */
  steps = 0;
  processes = 0;
  readonly #journals = memoryJournals();
  readonly #killAt: ReadonlySet<number>;
  #xen: ModelXen | undefined;

  constructor(killAt: readonly number[] = []) {
    this.#killAt = new Set(killAt);
  }

  /** Creates the vif as the toolstack does; no backend runs yet. */
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

  /** Starts a process, unless one runs. */
  start(): void {
    if (this.#xen?.alive) return;
    this.processes++;
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

  /** SIGKILL; the process is not started again until `start` or `run`. */
  kill(): void {
    this.#xen?.kill();
  }

  /** Runs the machine for a time. Starts a backend again that was killed. */
  async run(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += LOOK_MS) {
      this.start();
      await this.hypervisor.advance(LOOK_MS);
    }
  }

  /** @returns whether the guest's work was done in time. @throws the error of the work. */
  async done(work: Promise<unknown>, ms: number): Promise<boolean> {
    const outcome = outcomeOf(work);
    for (let passed = 0; passed < ms && !outcome.ended && !outcome.failed; passed += LOOK_MS)
      await this.run(LOOK_MS);
    outcome.check();
    return outcome.ended;
  }

  /** Runs code that may call into the backend, and ignores that this kills the process. */
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
