import { VifdError } from '../../errors.js';
import type { Port } from '../../ports/port.js';
import { frontendVifPath, XenbusState } from '../../protocol/xenbus.js';
import type { Shares, Xen } from '../../xen/seam.js';
import { ControlFront } from './control.js';
import {
  ALL_FEATURES,
  type BackendFeatures,
  type FrontFeatures,
  readBackendFeatures,
  writeFrontendKeys,
} from './features.js';
import { FrontQueue } from './front-queue.js';
import { HashOracle } from './hash-oracle.js';
import { readIfThere, StateWatch } from './state-watch.js';
import { type DirectionStats, type StatsOf, sumOfStats } from './stats.js';
import { type Violation, Violations } from './violations.js';

const CLOSE_TIMEOUT_MS = 5000;

/** Options of `Netfront.connect`. */
export interface NetfrontOptions {
  /** The hypervisor, as the guest's domain sees it. */
  readonly xen: Xen;
  /** The guest's domain. Default: xen.domid. */
  readonly domid?: number;
  /** The backend's domain. Default 0. */
  readonly backendDomid?: number;
  /** The number of the vif among those of the guest. */
  readonly handle: number;
  /** Frames read out of it go to the backend; frames from the backend are written into it. */
  readonly port: Port;
  /** The features to offer. Default of each: offered. */
  readonly features?: Partial<FrontFeatures>;
  /** How many queues to ask for; the backend may offer fewer. The port needs as many. Default 1. */
  readonly queues?: number;
  /** Whether to use an event channel for each ring. Default: if the backend offers it. */
  readonly splitChannels?: boolean;
  /** Whether to use a control ring if the backend offers it. Default false, as Linux. */
  readonly control?: boolean;
  /** How long control requests wait for a response. Default: as Windows. */
  readonly controlTimeoutMs?: number;
  /** Whether the guest gets only multicast frames of addresses that it asks for (`changeMulticast`). Default false, as Linux. */
  readonly multicastControl?: boolean;
  /** Whether to connect in any state of the backend's node, as mini-os and MirageOS do. Default: waits for InitWait, as Linux. */
  readonly atOnce?: boolean;
  /** Aborts connecting. */
  readonly signal?: AbortSignal;
  /** Seed of the request ids. */
  readonly seed?: number;
  /** Whether grants last as long as the pages: faster, but without the check for grants that are still in use. Default false. */
  readonly keepGrants?: boolean;
  /** Whether responses must stand in the slots of their requests, as vifd promises. False for Linux's netback. Default true. */
  readonly inOrder?: boolean;
  /** Where the indices of both rings start. Default 0, as Linux. */
  readonly ringStart?: number;
  /** Longest frame without GSO that the backend may send. */
  readonly frameBytesMax?: number;
  /** The most empty buffers that wait for the backend: few make a guest that is slow to take frames. */
  readonly buffersMax?: number;
  /** Called with the status of each frame to the backend, counted from 0 in each queue, when its response comes. Only with `inOrder`. */
  readonly onResponse?: (frame: number, status: number, queue: number) => void;
  /** How long `close` waits for the backend. Default 5000. */
  readonly closeTimeoutMs?: number;
  /** Called with each violation. */
  readonly onViolation?: (violation: Violation) => void;
}

/** The counts of a Netfront. */
export interface NetfrontStats {
  /** Frames that this end sent. */
  readonly fromGuest: StatsOf<DirectionStats>;
  /** Frames that this end received. */
  readonly toGuest: StatsOf<DirectionStats>;
  /** How many violations there were. */
  readonly violations: number;
}

/** Why a frontend has ended. */
export type CloseReason = 'closed by us' | 'closed by the backend' | 'the backend is gone';

/**
 * The guest's end of a vif: does what Linux's xen-netfront does, and checks what the backend does. Its rings and event channels stay when the
 * backend dies, so that a new process of the backend can resume the connection.
 */
export class Netfront implements AsyncDisposable {
  /** What the backend did wrong. */
  readonly violations: Violations;
  /** The features that the backend offered when the frontend connected. */
  readonly backendFeatures: BackendFeatures;
  /** The control ring, if there is one. */
  readonly control: ControlFront | undefined;
  /** Checks the hashes that come with frames; pass it each set-up that the backend gets. */
  readonly hash = new HashOracle();
  /** Resolves when the vif has ended, on either side. */
  readonly closed: Promise<CloseReason>;
  readonly #options: NetfrontOptions;
  readonly #backend: StateWatch;
  readonly #statePath: string;
  readonly #queues: readonly FrontQueue[];
  #announceClosed!: (reason: CloseReason) => void;
  #closing: Promise<void> | undefined;

  /**
   * Connects as Linux does: waits for InitWait, sets up the rings, writes their keys to the store, and sets its state to Connected (4).
   * Resolves then; `connected` waits for the backend's Connected.
   */
  static async connect(options: NetfrontOptions): Promise<Netfront> {
    const { xen, handle, signal } = options;
    const { shares } = xen;
    if (shares === undefined) {
      throw new VifdError(
        'ERR_XEN_UNAVAILABLE',
        'a frontend needs memory to grant, and this Xen offers none',
      );
    }
    const domid = options.domid ?? xen.domid;
    const frontendPath = frontendVifPath(domid, handle);
    const backendPath = await readIfThere(xen.store, `${frontendPath}/backend`);
    if (backendPath === undefined) {
      throw new VifdError(
        'ERR_STATE',
        `there is no vif at ${frontendPath}: the toolstack (createVif) makes it first`,
      );
    }
    const backend = await StateWatch.open(xen.store, `${backendPath}/state`);
    let front: Netfront | undefined;
    try {
      if (!options.atOnce) {
        await restart(xen, `${frontendPath}/state`, backend, signal);
        await backend.until([XenbusState.InitWait], { clock: xen.clock, signal });
      }
      const features = await readBackendFeatures(xen.store, backendPath);
      if (!features.copy) throw new VifdError('ERR_STATE', `${backendPath} does not offer feature-rx-copy`);
      front = new Netfront(options, shares, backend, features, frontendPath);
      await front.#publish(frontendPath);
      return front;
    } catch (error) {
      if (front !== undefined) front.#release();
      await backend.close();
      throw error;
    }
  }

  private constructor(
    options: NetfrontOptions,
    shares: Shares,
    backend: StateWatch,
    backendFeatures: BackendFeatures,
    frontendPath: string,
  ) {
    const { xen } = options;
    this.#options = options;
    this.#backend = backend;
    this.#statePath = `${frontendPath}/state`;
    this.backendFeatures = backendFeatures;
    this.violations = new Violations(options.onViolation);
    this.closed = new Promise((resolve) => {
      this.#announceClosed = resolve;
    });
    const queues = Math.min(options.queues ?? 1, backendFeatures.queuesMax ?? 1);
    const { frameBytesMax, buffersMax, onResponse } = options;
    const common = {
      ...{ xen, shares, frameBytesMax, buffersMax, onResponse },
      backendDomid: options.backendDomid ?? 0,
      split: options.splitChannels ?? backendFeatures.splitChannels,
      violations: this.violations,
      features: this.features,
      hash: this.hash,
      seed: options.seed ?? 1,
      keepGrants: options.keepGrants ?? false,
      inOrder: options.inOrder ?? true,
      ringStart: options.ringStart ?? 0,
    };
    this.#queues = Array.from({ length: queues }, (_, index) => new FrontQueue({ ...common, index }));
    if (options.control === true && backendFeatures.control)
      this.control = new ControlFront({
        ...common,
        clock: xen.clock,
        events: xen.events,
        timeoutMs: options.controlTimeoutMs,
      });
  }

  /** The features that this frontend offers. */
  get features(): FrontFeatures {
    return { ...ALL_FEATURES, ...this.#options.features };
  }

  /** The state in the backend's node, a number of xenbus.h. */
  get backendState(): XenbusState {
    return this.#backend.state;
  }

  /** The number of requests to which the backend has not responded. */
  get outstanding(): number {
    return this.#queues.reduce((sum, { transmit }) => sum + transmit.outstanding, 0);
  }

  /** The counts of all queues. */
  get stats(): NetfrontStats {
    return {
      fromGuest: sumOfStats(this.#queues.map(({ transmit }) => transmit.stats)),
      toGuest: sumOfStats(this.#queues.map(({ receive }) => receive.stats)),
      violations: this.violations.total,
    };
  }

  /** Of each queue. */
  get queueStats(): readonly Omit<NetfrontStats, 'violations'>[] {
    return this.#queues.map(({ transmit, receive }) => ({
      fromGuest: { ...transmit.stats },
      toGuest: { ...receive.stats },
    }));
  }

  /** Resolves when the backend's state is Connected. */
  async connected(options: { signal?: AbortSignal; timeoutMs?: number } = {}): Promise<void> {
    await this.#backend.until([XenbusState.Connected], { clock: this.#options.xen.clock, ...options });
  }

  /**
   * Has the backend map all buffers until `unstage`, so that frames move without the hypervisor. Needs `control` and `keepGrants`.
   * @returns whether it did.
   */
  async stage(): Promise<boolean> {
    const { control } = this;
    if (control === undefined) return false;
    const staged = await Promise.all(this.#queues.map((queue) => queue.stage(control)));
    return staged.every((taken) => taken);
  }

  /** How many buffers `stage` has the backend map. */
  get stageable(): number {
    return this.#queues.reduce((sum, queue) => sum + queue.stageable, 0);
  }

  /** Ends what `stage` began. @returns how many buffers the backend has unmapped. */
  async unstage(): Promise<number> {
    const { control } = this;
    if (control === undefined) return 0;
    const counts = await Promise.all(this.#queues.map((queue) => queue.unstage(control)));
    return counts.reduce((sum, count) => sum + count, 0);
  }

  /**
   * Changes the guest's multicast list, by the TX ring of a queue: with `multicastControl`. `pump` puts the changes there, in their order.
   * @param address six bytes.
   * @returns whether the backend made the change, once it has responded.
   */
  changeMulticast(how: 'add' | 'remove', address: Uint8Array, queue = 0): Promise<boolean> {
    const { transmit } = this.#queues[queue];
    return transmit.multicast.change(how, address);
  }

  /** Reads all rings and the port now, without an event. A test may call it in place of an event that a broken backend did not send. */
  pump(): void {
    for (const queue of this.#queues) queue.pump();
  }

  /** Sets the state Closing, then Closed, as a guest that removes its driver; waits for the backend in between. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#closeOrderly();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  // ---- connecting ------------------------------------------------------------------------------

  async #publish(frontendPath: string): Promise<void> {
    const { xen, port } = this.#options;
    const queues = this.#queues.map((queue) => queue.keys());
    const asks: [string, number][] = this.#options.multicastControl ? [['request-multicast-control', 1]] : [];
    const { control } = this;
    await xen.store.transaction(async (view) => {
      for (const [key, value] of asks) await view.write(`${frontendPath}/${key}`, String(value));
      await writeFrontendKeys(view, frontendPath, this.features, this.backendFeatures, queues, control?.keys);
    });
    const { sg, gsoV4, gsoV6, checksumV6 } = this.backendFeatures;
    const takes = { checksumV4: true, checksumV6, gsoV4: sg && gsoV4, gsoV6: sg && gsoV6 && checksumV6 };
    this.#queues.forEach((queue, index) => {
      queue.start(port, { ...takes, queue: { index, count: queues.length } });
    });
    port.setCarrier?.(true);
    this.#backend.onChange(() => this.#onBackendState());
    await xen.store.write(this.#statePath, String(XenbusState.Connected));
    this.pump();
    this.#onBackendState();
  }

  // ---- running ---------------------------------------------------------------------------------

  #onBackendState(): void {
    const { state } = this.#backend;
    // InitWait while the guest is connected comes from a new process of the backend that has not attached yet: nothing to do.
    const over: readonly XenbusState[] = [XenbusState.Closing, XenbusState.Closed, XenbusState.Unknown];
    if (this.#closing !== undefined || !over.includes(state)) return;
    this.#closing = this.#followClosing(state);
  }

  // ---- closing ---------------------------------------------------------------------------------

  async #closeOrderly(): Promise<void> {
    const { store } = this.#options.xen;
    for (const { transmit } of this.#queues) transmit.stop();
    try {
      await store.write(this.#statePath, String(XenbusState.Closing));
      await this.#backendReaches([XenbusState.Closing, XenbusState.Closed, XenbusState.Unknown]);
      await store.write(this.#statePath, String(XenbusState.Closed));
      await this.#backendReaches([XenbusState.Closed, XenbusState.InitWait, XenbusState.Unknown]);
    } finally {
      await this.#finish('closed by us');
    }
  }

  async #followClosing(state: XenbusState): Promise<void> {
    for (const { transmit } of this.#queues) transmit.stop();
    const gone = state === XenbusState.Unknown;
    try {
      // Without a backend the toolstack removes our own node too; a write would create it again.
      if (!gone) {
        await this.#options.xen.store.write(this.#statePath, String(XenbusState.Closed));
        await this.#backendReaches([XenbusState.Closed, XenbusState.Unknown]);
      }
    } catch {
      // The store is gone too, so only the guest's own resources remain to be released.
    } finally {
      await this.#finish(gone ? 'the backend is gone' : 'closed by the backend');
    }
  }

  /** Waits for a limited time, since the backend may be dead. */
  async #backendReaches(states: readonly XenbusState[]): Promise<void> {
    const { closeTimeoutMs = CLOSE_TIMEOUT_MS, xen } = this.#options;
    try {
      await this.#backend.until(states, { clock: xen.clock, timeoutMs: closeTimeoutMs });
    } catch (error) {
      if (!(error instanceof VifdError && error.code === 'ERR_STATE')) throw error;
    }
  }

  async #finish(reason: CloseReason): Promise<void> {
    this.#release();
    await this.#backend.close();
    this.#announceClosed(reason);
  }

  #release(): void {
    this.control?.dispose();
    for (const queue of this.#queues) queue.release();
  }
}

/** Returns a vif that an earlier frontend used to its initial state (Linux does so after kexec): the backend closes, then waits anew. */
async function restart(
  xen: Xen,
  statePath: string,
  backend: StateWatch,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { clock, store } = xen;
  const own = await store.read(statePath);
  if (own === String(XenbusState.Initialising)) return;
  const inUse: readonly XenbusState[] = [XenbusState.Initialised, XenbusState.Connected, XenbusState.Closing];
  if (inUse.includes(backend.state)) {
    await store.write(statePath, String(XenbusState.Closing));
    await backend.until([XenbusState.Closing, XenbusState.Closed], { clock, signal });
    await store.write(statePath, String(XenbusState.Closed));
    await backend.until([XenbusState.Closed, XenbusState.InitWait], { clock, signal });
  }
  await store.write(statePath, String(XenbusState.Initialising));
}
