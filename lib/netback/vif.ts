import { VifdError, type VifdErrorCode } from '../errors.js';
import type { Port } from '../ports/types.js';
import { XenbusState } from '../protocol/xenbus.js';
import { Connection } from './connection.js';
import { VifJournals } from './connection-journals.js';
import { VifCounters } from './counters.js';
import { parseRate, type Rate } from './credit.js';
import { type FrontendSettings, type Handshake, ringsOf } from './handshake.js';
import { Hooks } from './hooks.js';
import { CARRIER_KEY } from './offer.js';
import type { VifDetails } from './show.js';
import { frameStream } from './stream.js';
import type { Direction, Frame, FrameHook, VifId, VifInfo, VifState, VifStats } from './types.js';
import type { VifSight } from './vif-node.js';
import type { DetachReason, VifParts } from './vif-parts.js';

/** Our states in which a guest that is connected is served. */
const CONNECTABLE: ReadonlySet<XenbusState> = new Set([
  XenbusState.InitWait,
  XenbusState.Connected,
  XenbusState.Reconfigured,
]);

/** One guest's network interface: its life in the store, its port and, while the guest is attached, its connection. */
export class Vif implements VifInfo {
  readonly id: VifId;
  readonly domid: number;
  readonly handle: number;
  readonly mac: string;
  readonly bridge: string | undefined;
  readonly mtu: number | undefined;
  readonly #parts: VifParts;
  readonly #counters = new VifCounters();
  readonly #hooks: Hooks;
  readonly #journals: VifJournals;
  #state: VifState = 'waiting';
  #reason: string | undefined;
  #port: Port | undefined;
  #connection: Connection | undefined;
  /** Of the connection that is served, or was until it was stopped. */
  #rings: string | undefined;
  /** What the node offers is ours. */
  #offered = false;
  #dirty = false;
  #work: Promise<void> | undefined;
  #ended = false;
  #rateText: string | undefined;
  #rate: Rate | undefined;

  constructor(parts: VifParts) {
    const { info } = parts.node;
    this.#parts = parts;
    this.id = info.id;
    this.domid = info.domid;
    this.handle = info.handle;
    this.mac = info.mac;
    this.bridge = info.bridge;
    this.mtu = info.mtu;
    this.#hooks = new Hooks((error) => parts.onError(error, this));
    this.#journals = new VifJournals({
      journals: parts.journals,
      vif: info,
      onError: (error) => parts.onError(error, this),
      onIgnored: (message) => this.#report('ERR_JOURNAL', message),
    });
    const { hook } = parts;
    if (hook !== undefined) this.#hooks.add((frame, direction) => hook(frame, direction, this));
  }

  get state(): VifState {
    return this.#state;
  }

  /** Why the vif is stopped. */
  get reason(): string | undefined {
    return this.#reason;
  }

  get stats(): VifStats {
    return this.#counters.sum;
  }

  /** Of each queue that the guest has, or had. */
  get queueStats(): readonly VifStats[] {
    return this.#counters.queues;
  }

  get port(): Port | undefined {
    return this.#port;
  }

  /** All that is known of it, as plain data. */
  show(): VifDetails {
    const { id, domid, handle, mac, bridge, mtu, state, reason, stats } = this;
    const connection = this.#connection?.show(this.queueStats);
    return { id, domid, handle, mac, bridge, mtu, state, reason, port: this.#port?.name, stats, connection };
  }

  /** Tells the guest whether its link is up. For its information: frames move all the same. */
  setCarrier(up: boolean): Promise<void> {
    return this.#parts.node.write(CARRIER_KEY, up ? '1' : '0');
  }

  /** Runs `hook` inline on every frame until the result is disposed. See FrameHook. */
  hook(hook: FrameHook): Disposable {
    return this.#hooks.add(hook);
  }

  /** Copies of the frames that pass. At most `limit` wait to be read (default 1024); later ones are not copied. */
  frames(
    options: { direction?: Direction; signal?: AbortSignal; limit?: number } = {},
  ): AsyncIterableIterator<Frame> {
    return frameStream(this.#hooks, options);
  }

  /** Begins to follow the store. Resolves when the vif has done what there was to do. */
  async start(): Promise<void> {
    // Asked for together: the store answers in order, so what comes after the first look is watched.
    await Promise.all([this.#parts.node.watch(() => this.poke()), this.poke()]);
  }

  /** Something changed in the store: look, and act. Resolves when that is done. */
  poke(): Promise<void> {
    this.#dirty = true;
    this.#work ??= this.#follow().finally(() => {
      this.#work = undefined;
    });
    return this.#work;
  }

  /** Lets go and leaves the guest connected; the port stays for the next life. */
  async detach(): Promise<void> {
    this.#ended = true;
    await this.#work;
    this.#release('shutdown');
    this.#state = 'detached';
    await this.#parts.node.unwatch();
    await this.#port?.[Symbol.asyncDispose]();
  }

  /** Tells the guest that the device goes away. The only call that does. */
  async close(): Promise<void> {
    await this.#work;
    this.#end('guest-closed');
    this.#state = 'closed';
    await this.#parts.node.setState(XenbusState.Closing);
  }

  async #follow(): Promise<void> {
    while (this.#dirty && !this.#ended) {
      this.#dirty = false;
      await this.#reported(() => this.#act());
      // After the step: what a killed life left undone is done by attaching, and only then may another go on.
      if (!this.#ended) await this.#reported(() => this.#releaseUnlessAccepted());
    }
  }

  async #reported(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#parts.onError(error, this);
    }
  }

  async #act(): Promise<void> {
    const { sight, keys } = await this.#look();
    if (sight === undefined) await this.#leave('guest-gone', 'closed');
    else await this.#step(sight, keys);
  }

  /**
   * The guest's keys are asked for behind its state, so they are as new; a round trip less when we attach. Whoever
   * connects awaits them: a guest that makes them unreadable must not hide its vif's end from us.
   */
  async #look(): Promise<{ sight: VifSight | undefined; keys: Promise<Handshake> }> {
    const { node, offer } = this.#parts;
    const looking = node.look();
    // What a guest that is not ours yet negotiated was another backend's to offer.
    const foreign = this.#connection === undefined && !this.#offered;
    const keys = node.readGuest(foreign ? offer : undefined);
    keys.catch(() => undefined);
    return { sight: await looking, keys };
  }

  /** The table of docs/design.md, "Life of a vif". */
  async #step(sight: VifSight, keys: Promise<Handshake>): Promise<void> {
    if (sight.hotplugError !== undefined) {
      this.#report('ERR_STATE', `the hotplug script failed: ${sight.hotplugError}`);
    }
    this.#limit(sight.rate);
    // The toolstack wrote Closing into our own node and waits for Closed, whatever the guest does.
    const ending = sight.own === XenbusState.Closing || sight.own === XenbusState.Closed;
    if (ending && !sight.online) return this.#closed(sight);
    switch (sight.frontend) {
      case XenbusState.Unknown:
        return this.#closed(sight);
      case XenbusState.Initialising:
        return this.#expect(sight);
      case XenbusState.Initialised:
      case XenbusState.Connected:
        return this.#connect(sight, keys);
      case XenbusState.Closing:
        this.#end('guest-closed');
        this.#state = 'closed';
        this.#reason = undefined;
        if (sight.own === XenbusState.Closing || sight.own === XenbusState.Closed) return;
        return this.#parts.node.setState(XenbusState.Closing);
      case XenbusState.Closed:
        return this.#closed(sight);
      case XenbusState.Reconfiguring:
        return this.#reconfigure(sight, keys);
      default:
        return;
    }
  }

  /** The toolstack may change the rate at any time. */
  #limit(text: string | undefined): void {
    if (text === this.#rateText) return;
    this.#rateText = text;
    const rate = parseRate(text);
    const wrong = rate !== undefined && 'wrong' in rate;
    if (wrong) this.#report('ERR_STATE', rate.wrong);
    this.#rate = wrong ? undefined : rate;
    if (this.#connection !== undefined) this.#connection.rate = this.#rate;
  }

  /** The guest has not connected: offer what we have. It may have rebooted without saying goodbye. */
  async #expect(sight: VifSight): Promise<void> {
    this.#end('guest-closed');
    this.#state = 'waiting';
    this.#reason = undefined;
    const port = await this.#openPort();
    const { node, xen, offer } = this.#parts;
    if (sight.own === XenbusState.InitWait && this.#offered) return;
    await offer.advertise(xen.store, node.path, this.#queuesFor(port));
    this.#offered = true;
    if (sight.own !== XenbusState.InitWait) await node.setState(XenbusState.InitWait);
  }

  async #connect(sight: VifSight, keys: Promise<Handshake>): Promise<void> {
    // Not every guest waits for InitWait: mini-os and MirageOS say Connected at once, MirageOS from Closed too.
    if (sight.own === XenbusState.Initialising || sight.own === XenbusState.Closed)
      return this.#expect(sight);
    if (!CONNECTABLE.has(sight.own)) return;
    await this.#heed(await keys);
    const plugged = sight.own === XenbusState.InitWait && sight.plugged;
    const reconfigured = sight.own === XenbusState.Reconfigured && sight.frontend === XenbusState.Connected;
    if ((plugged || reconfigured) && this.#connection !== undefined)
      await this.#parts.node.setState(XenbusState.Connected);
  }

  /** Serves the connection that the guest's keys name, and heeds what it may change while connected. */
  async #heed(handshake: Handshake): Promise<void> {
    if (!handshake.ok) {
      if (this.#connection === undefined && handshake.reason !== this.#reason) this.#stop(handshake.reason);
      return;
    }
    const { settings } = handshake;
    const rings = ringsOf(settings);
    // Another connection, of which we have not seen the beginning: it came faster than we looked.
    if (this.#connection !== undefined && rings !== this.#rings) this.#end('guest-closed');
    if (this.#connection !== undefined) this.#connection.multicast.requested = settings.multicastControl;
    else if (this.#state !== 'stopped' || rings !== this.#rings) await this.#attach(settings);
  }

  async #attach(settings: FrontendSettings): Promise<void> {
    const { xen } = this.#parts;
    const began = xen.clock.now();
    const port = await this.#openPort();
    this.#rings = ringsOf(settings);
    this.#reason = undefined;
    const { length } = settings.queues;
    if (length > (port.queuesMax ?? 1))
      return this.#stop(`its guest has ${length} queues, and port ${port.name} has ${port.queuesMax ?? 1}`);
    try {
      this.#connection = new Connection({
        xen,
        domid: this.domid,
        settings,
        rate: this.#rate,
        port,
        journals: this.#journals.open(settings),
        payload: this.#parts.payload,
        hooks: this.#hooks,
        counters: (queue) => this.#counters.of(queue),
        onStop: (reason) => this.#stop(reason),
        onStall: (queue, linkDown) => {
          const where = length > 1 ? ` by queue ${queue}` : '';
          const then = linkDown ? 'its link is down' : 'they are dropped';
          this.#report('ERR_STALLED', `its guest takes no frames${where} for 60 s: ${then} until it does`);
        },
        onRecovery: (queue) => this.#parts.onRecovered(this, queue),
      });
    } catch (error) {
      if (error instanceof VifdError && isGuestFault(error)) return this.#stop(error.message);
      throw error;
    }
    this.#state = 'connected';
    // Listeners come first: what they hook in shall see every frame.
    this.#parts.onAttached(this, { resumed: this.#connection.resumed, attachMs: xen.clock.now() - began });
    this.#connection?.start();
  }

  /** The guest has other wishes, and waits for our answer; frames move all the while. */
  async #reconfigure(sight: VifSight, keys: Promise<Handshake>): Promise<void> {
    await this.#connect(sight, keys);
    const handshake = await keys;
    if (this.#connection !== undefined && handshake.ok)
      this.#connection.xdpHeadroom = handshake.settings.xdpHeadroom;
    // Our own write leads here again.
    if (sight.own !== XenbusState.Reconfigured) await this.#parts.node.setState(XenbusState.Reconfigured);
  }

  async #closed(sight: VifSight): Promise<void> {
    this.#end('guest-closed');
    this.#state = 'closed';
    this.#reason = undefined;
    // The port goes first: libxl takes Closed for "nothing is left".
    if (!sight.online) await this.#dropPort();
    if (sight.own !== XenbusState.Closed) await this.#parts.node.setState(XenbusState.Closed);
  }

  /** The guest broke the protocol: this vif alone stops. The store is not touched; the guest may kexec. */
  #stop(reason: string): void {
    this.#reason = reason;
    this.#release('protocol-error');
    this.#state = 'stopped';
    this.#parts.onError(
      new VifdError('ERR_PROTOCOL', `${this.id} stopped: ${reason}`, { vif: this.id }),
      this,
    );
  }

  /** Another backend goes on with it: nothing of ours may be in its way, and the store is not touched. */
  async #releaseUnlessAccepted(): Promise<void> {
    if (!(await this.#parts.accepts(this))) await this.#leave('released', 'detached');
  }

  async #leave(why: DetachReason, state: VifState): Promise<void> {
    this.#ended = true;
    this.#end(why);
    this.#state = state;
    await this.#parts.node.unwatch();
    await this.#dropPort();
    this.#parts.onGone(this);
  }

  async #dropPort(): Promise<void> {
    const port = this.#port;
    this.#port = undefined;
    await port?.remove?.();
    await port?.[Symbol.asyncDispose]();
  }

  #report(code: VifdErrorCode, message: string): void {
    this.#parts.onError(new VifdError(code, `${this.id}: ${message}`, { vif: this.id }), this);
  }

  /** The guest's connection is over: so are its journals. */
  #end(why: DetachReason): void {
    this.#release(why);
    this.#rings = undefined;
    this.#journals.remove();
  }

  #release(why: DetachReason): void {
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.detach();
    if (connection !== undefined) this.#parts.onDetached(this, why);
  }

  /** How many queues a new connection may have. */
  #queuesFor({ queuesMax = 1 }: Port): number {
    return Math.min(queuesMax, this.#parts.queues);
  }

  async #openPort(): Promise<Port> {
    this.#port ??= await this.#parts.openPort(this);
    return this.#port;
  }
}

/** What a frontend can cause by what it wrote; anything else is ours or the machine's to mend. */
function isGuestFault(error: VifdError): boolean {
  return error.code === 'ERR_PROTOCOL' || error.code === 'ERR_XEN_GRANT' || error.code === 'ERR_XEN_EVENT';
}
