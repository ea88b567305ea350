import { Backoff } from '../../backoff.js';
import { retried, type VifdError } from '../../errors.js';
import type { FrameOffload } from '../../ports/offload.js';
import type { Port, PortTrouble } from '../../ports/port.js';
import { XenbusState } from '../../protocol/xenbus.js';
import type { VifStats } from '../frames/counters.js';
import { VifCounters } from '../frames/counters.js';
import type { FrameFilter, FrameHook, FrameStream, FramesOptions } from '../frames/frame.js';
import { CopiedFrames } from '../frames/frame-stream.js';
import { Hooks } from '../frames/hooks.js';
import { SentFrames } from '../frames/sent-frames.js';
import type { Vif as PublicVif } from '../public-vif.js';
import { faultOf, type VifDetails } from '../show.js';
import type { VifId, VifState } from '../vif-info.js';
import { Attachment } from './attachment.js';
import { CounterUpkeep } from './counter-upkeep.js';
import { Looks } from './looks.js';
import { CARRIER_KEY } from './offer.js';
import type { RecordedConnection } from './recorded-connection.js';
import { StepRunner } from './step-runner.js';
import { presentIn, stepOf } from './steps.js';
import { ended } from './vif-errors.js';
import { VifFaults } from './vif-faults.js';
import type { DetachReason, VifParts } from './vif-parts.js';
import { VifPort } from './vif-port.js';

/** One guest's network interface. It follows the store, and has a port and, while attached to the guest, a connection. */
export class Vif implements PublicVif {
  readonly id: VifId;
  readonly domid: number;
  readonly handle: number;
  readonly #parts: VifParts;
  readonly #counters = new VifCounters(() => this.#port.dropped);
  readonly #counterUpkeep: CounterUpkeep;
  readonly #hooks: Hooks;
  readonly #port: VifPort;
  readonly #faults: VifFaults;
  readonly #sent = new SentFrames();
  readonly #streams = new Set<CopiedFrames>();
  /** Looks again after a fault that the guest has not caused. */
  readonly #retry: Backoff;
  readonly #looks: Looks;
  readonly #attachment: Attachment;
  readonly #steps: StepRunner;
  /** Whether the node was seen on the present connection to the store: only then is its absence a removal. */
  #seen = true;
  /** Whether the next look calls `accept`. The first look does too, for a vif that vifd attaches to once and then releases. */
  #doubted = true;
  #ended = false;
  /** Whether the program has closed the device, and the guest has not connected again since. */
  #closed = false;
  #rateText: string | undefined;

  constructor(parts: VifParts) {
    const { info } = parts.node;
    this.#parts = parts;
    this.id = info.id;
    this.domid = info.domid;
    this.handle = info.handle;
    this.#faults = new VifFaults(info.id, {
      onBegin: parts.onError,
      onEnd: parts.onMended,
    });
    this.#looks = new Looks(parts.xen.clock, parts.budget.looks, () => this.#follow());
    this.#retry = new Backoff(parts.xen.clock, () => void this.poke());
    this.#port = new VifPort({
      bridge: () => this.bridge,
      open: () => parts.openPort(this),
      removeLeft: () => parts.removeLeftPort(this.id),
      onTrouble: (trouble) => this.#onTrouble(trouble),
    });
    this.#hooks = new Hooks(parts.xen.clock, (error) => parts.onError(this.#faults.named(error)));
    this.#attachment = new Attachment({
      vif: info,
      xen: parts.xen,
      openChannels: parts.openChannels,
      journals: parts.journals,
      journalVersion: parts.journalVersion,
      payload: parts.payload,
      port: this.#port,
      faults: this.#faults,
      hooks: this.#hooks,
      sent: this.#sent,
      budget: parts.budget,
      wasConnected: parts.node.wasConnected,
      counters: this.#counters,
      onAttached: parts.onAttached,
      onDetached: parts.onDetached,
      onRecovered: parts.onRecovered,
      onError: parts.onError,
      onAdmission: () => void this.poke(),
    });
    const { clock } = parts.xen;
    const { journals, onError } = parts;
    const [counters, faults] = [this.#counters, this.#faults];
    this.#counterUpkeep = new CounterUpkeep({ vif: info, counters, journals, clock, faults, onError });
    const { node, offer, queues, filter, hook } = parts;
    this.#steps = new StepRunner({ node, port: this.#port, attachment: this.#attachment, offer, queues });
    if (filter !== undefined)
      this.#hooks.addFilter((frame, direction) => filter(frame, direction, this), filter.name);
    if (hook !== undefined) this.#hooks.add((frame, direction) => hook(frame, direction, this), hook.name);
  }

  get mac(): string {
    return this.#parts.node.info.mac;
  }

  get bridge(): string | undefined {
    return this.#parts.node.info.bridge;
  }

  get mtu(): number | undefined {
    return this.#parts.node.info.mtu;
  }

  get state(): VifState {
    const { phase } = this.#steps;
    if (this.#attachment.connection !== undefined) return 'connected';
    return this.#attachment.reason === undefined || phase === 'detached' ? phase : 'stopped';
  }

  /** Why the vif is stopped, or else its present fault. */
  get reason(): string | undefined {
    return this.#attachment.reason ?? this.#faults.all[0]?.message;
  }

  /** The present faults that the guest has not caused. Each was reported when it began, and vifd tries again. */
  get faults(): readonly VifdError[] {
    return this.#faults.all;
  }

  get stats(): VifStats {
    return this.#counters.sum;
  }

  /** The counters of each queue that the guest has or had. */
  get queueStats(): readonly VifStats[] {
    return this.#counters.queues;
  }

  get port(): Port | undefined {
    return this.#port.current;
  }

  /** Returns all details of the vif as plain data. */
  show(): VifDetails {
    const { id, domid, handle, mac, bridge, mtu, state, reason, stats } = this;
    const portDropped = stats.toGuest.drops.port;
    const connection = this.#attachment.connection?.show(this.queueStats);
    const faults = this.faults.map(faultOf);
    const port = { ...this.#port.show(), portDropped };
    return { id, domid, handle, mac, bridge, mtu, state, reason, faults, ...port, stats, connection };
  }

  /** Reports to the guest whether its link is up. This only informs the guest: frames move in both cases. @throws VifdError as `close`. */
  async setCarrier(up: boolean): Promise<void> {
    if (this.#ended) throw ended(this.id);
    await this.#parts.node.write(CARRIER_KEY, up ? '1' : '0');
  }

  filter(filter: FrameFilter): Disposable {
    return this.#hooks.addFilter(filter);
  }

  hook(hook: FrameHook): Disposable {
    return this.#hooks.add(hook);
  }

  send(frame: Uint8Array, offload?: Partial<FrameOffload>): boolean {
    return this.#sent.send(frame, offload);
  }

  frames(options: FramesOptions = {}): FrameStream {
    const stream = new CopiedFrames(options, {
      follow: (see) =>
        this.#hooks.add((frame, direction) => {
          see(frame, direction);
          return 'pass';
        }),
      now: () => this.#parts.xen.clock.now(),
      onEnd: (ended) => this.#streams.delete(ended),
    });
    this.#streams.add(stream);
    if (this.#ended) stream.end();
    return stream;
  }

  /** Call it when the store is back: its content may be lost, so a missing node is no removal. */
  storeReturned(): void {
    this.#seen = false;
    this.#parts.node.storeReturned();
    this.poke();
  }

  /** Opens the vif's counters, which earlier processes may have used. What was counted before that is added to them. */
  openCounters(): void {
    if (!this.#ended) this.#counterUpkeep.begin();
  }

  /** Attaches to a connection that another process served, before the first look. Resolves when that is done, or has failed. */
  async serveRecorded({ settings, rate }: RecordedConnection): Promise<void> {
    this.#limit(rate);
    await this.#reported('serve', () => this.#attachment.serveRecorded(settings));
  }

  /** Makes the first look, with the keys that were read when the node was found. Resolves when its step is done, or must wait. */
  begin(): Promise<void> {
    return this.#looks.poke();
  }

  /**
   * Call it when the store changed: looks at the vif and takes a step. Resolves when that is done, or must wait.
   * @param changed the path that changed, which alone is read again; undefined to read all keys again.
   */
  poke(changed?: string): Promise<void> {
    const concern = this.#parts.node.note(changed);
    if (concern === 'nothing') return this.#looks.settled();
    this.#doubted ||= concern === 'all';
    return this.#looks.poke();
  }

  /** Detaches at once, without the store, which may be away. The guest stays connected, and the port stays for the next process. */
  async detach(): Promise<void> {
    this.#stop();
    this.#attachment.release('shutdown');
    this.#steps.phase = 'detached';
    await this.#atEnd(() => this.#port.close());
    await this.#looks.settled();
    // A port may have been opened meanwhile.
    await this.#atEnd(() => this.#port.close());
    this.#counterUpkeep.end();
    await this.#atEnd(() => this.#parts.node.unwatch());
  }

  /** Ends without the store: the guest's domain is gone, or an operator forgets the vif. */
  async abandon(): Promise<void> {
    if (!this.#ended) await this.#leave('guest-gone', 'closed');
  }

  /** Closes the device for the guest; no other call does. @throws VifdError ERR_STATE once the vif is detached. */
  async close(): Promise<void> {
    if (this.#ended) throw ended(this.id);
    await this.#looks.settled();
    if (this.#ended) return;
    await this.#steps.close(XenbusState.Closing);
    if (this.#ended) return;
    this.#closed = true;
    this.#parts.onClosed();
  }

  async #follow(): Promise<void> {
    const onChange = (changed: string) => void this.poke(changed);
    const watching = await this.#reported('watch', () => this.#parts.node.watch(onChange));
    const done = await this.#reported('serve', async () => {
      this.#port.follow();
      await this.#act();
    });
    // Released after the step, because attaching completes what a killed process left undone, and only then may another backend serve the
    // guest.
    const asked = this.#ended || (await this.#reported('release', () => this.#releaseUnlessAccepted()));
    // If the node is missing, vifd looks for it again, because no watch reports that the domain is gone.
    if (watching && done && asked && !this.#faults.has('node')) this.#retry.reset();
  }

  #stop(): void {
    this.#ended = true;
    this.#retry.cancel();
    this.#looks.end();
    for (const stream of this.#streams) stream.end();
  }

  /** Runs `work`. An error becomes the vif's fault of this kind until `work` succeeds; vifd tries again. */
  async #reported(kind: string, work: () => Promise<void>): Promise<boolean> {
    try {
      await work();
    } catch (error) {
      // A call that waited for the store fails when the vif ends; that is no fault.
      if (this.#ended) return false;
      this.#faults.begin(kind, this.#faults.named(retried(error)));
      this.#retry.again();
      return false;
    }
    this.#faults.end(kind);
    return true;
  }

  async #act(): Promise<void> {
    const { node, xen } = this.#parts;
    const snapshot = await node.look();
    if (this.#ended) return;
    const [present, seen, { offered }] = [presentIn(snapshot, this.#seen), this.#seen, this.#steps];
    const domainGone = present === undefined && !seen && xen.domainExists?.(this.domid) === false;
    const step = stepOf(present, { seen, domainGone, offered });
    if (step.do === 'end') return this.#leave('guest-gone', 'closed');
    if (step.do === 'await the node' || present === undefined) return this.#awaitNode();
    this.#seen = true;
    this.#faults.end('node');
    this.#faults.heedSnapshot(present);
    this.#limit(present.rate);
    await this.#steps.run(step, present);
    if (!this.#closed || this.#ended || this.state === 'closed') return;
    this.#closed = false;
    this.#parts.onReopened();
  }

  #awaitNode(): void {
    const remedy = `Write the node again, destroy the domain, or run \`vifd detach ${this.id}\`.`;
    const what = 'xenstored came back without its node; the guest stays attached';
    this.#faults.heed('node', 'ERR_NODE_GONE', `${what}. ${remedy}`);
    this.#retry.again();
  }

  /** Handles a fault of the port, which may come at any moment, and its end. */
  #onTrouble(trouble: PortTrouble | undefined): void {
    if (this.#ended) return;
    if (trouble === undefined) this.#faults.end('port');
    else this.#faults.begin('port', this.#faults.named(trouble.error));
    if (trouble?.lost !== true) return;
    // The journal stays, because the attach with the new port resumes this connection.
    this.#attachment.release('port-lost');
    const closed = this.#reported('port close', () => this.#port.close());
    closed.then(() => this.#attachment.attachAgain()).then(() => this.poke());
  }

  /** Applies the rate, which the toolstack may change at any time. */
  #limit(text: string | undefined): void {
    if (text === this.#rateText) return;
    this.#rateText = text;
    this.#attachment.rate = this.#faults.rateOf(text);
  }

  /**
   * Releases a vif that is no longer accepted, because another backend serves it. vifd removes its own port and journals, and writes no
   * state.
   */
  async #releaseUnlessAccepted(): Promise<void> {
    if (!this.#doubted) return;
    this.#doubted = false;
    const accepted = await this.#parts.accepts(this).catch((error) => {
      this.#doubted = true;
      throw error;
    });
    if (!accepted) await this.#leave('released', 'detached');
  }

  async #leave(why: DetachReason, state: 'closed' | 'detached'): Promise<void> {
    this.#stop();
    this.#attachment.end(why);
    this.#steps.phase = state;
    await this.#atEnd(() => this.#port.remove());
    await this.#atEnd(() => this.#parts.node.unwatch());
    this.#counterUpkeep.remove();
    this.#parts.onGone();
  }

  /** Runs a part of the vif's end. An error is reported, since the rest has to end, too. */
  async #atEnd(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#parts.onError(this.#faults.named(error));
    }
  }
}
