import { dirname } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import type { HandoverParts } from '../../lib/cli/handover.js';
import type { KernelControl } from '../../lib/cli/kernel-control.js';
import { VifMark, type VifName } from '../../lib/daemon/mark.js';
import { Ownership } from '../../lib/daemon/ownership.js';
import type { VifTapOptions } from '../../lib/daemon/taps.js';
import { type Journals, memoryJournals } from '../../lib/durable/journal.js';
import { VifdError } from '../../lib/errors.js';
import type { LinkSettings, Links } from '../../lib/host/links.js';
import { Netback } from '../../lib/netback/netback.js';
import type { VifAddress } from '../../lib/netback/vif-info.js';
import type { Port } from '../../lib/ports/port.js';
import { backendVifPath } from '../../lib/protocol/xenbus.js';
import { ModelHypervisor, type ModelXen } from '../../lib/testing/model/index.js';
import type { Store } from '../../lib/xen/seam.js';
import { RawGuest } from '../../worlds/model/raw-guest.js';
import { TestPort } from '../../worlds/model/test-port.js';

export const VIF: VifName = { id: 'vif7.0', domid: 7, handle: 0 };
export const NODE = '/local/domain/0/backend/vif/7/0';
export const FRONT = '/local/domain/7/device/vif/0';

/** An interface that an operator has set up, with no default setting. */
export const SET_UP: LinkSettings = {
  bridge: 'xenbr1',
  mac: 'fe:ff:ff:00:00:07',
  mtu: 9000,
  up: true,
  port: { isolated: '1' },
};

/** How the kernel creates interfaces, its own and taps. */
const FRESH: LinkSettings = { mac: '00:00:00:00:00:00', mtu: 1500, up: false, port: {} };

/** Thrown at the step where a test kills the verb's process. */
export class Killed extends Error {}

/** A dom0 or a driver domain: a guest that is connected, a kernel with xen-netback, interfaces, and vifds that come and go. */
export class HandoverWorld {
  readonly hypervisor = new ModelHypervisor({ autorun: true });
  readonly toolstack = this.hypervisor.open(0);
  readonly node: string;
  readonly guest: RawGuest;
  readonly #domid: number;
  /** The store that the verbs use. */
  readonly #own: ModelXen;
  readonly links = new Map<string, LinkSettings>([['xenbr1', FRESH]]);
  readonly bound = new Set<string>();
  readonly states = new Set<string | undefined>();
  /** The operations that the kernel's driver refuses, or does not complete. */
  refuses: 'unbind' | 'bind' | 'connecting' | undefined;
  loaded = true;
  /** The name of the vif's interface, the kernel's or the tap. */
  called: string = VIF.id;
  /** The `--bridge` of `vifd run`, for taps that no script puts into a bridge. */
  bridge: string | undefined;
  readonly #journals: Journals = memoryJournals();
  #daemon: { readonly xen: ModelXen; readonly netback: Netback } | undefined;
  #now = 0;

  private constructor(domid: number) {
    this.#domid = domid;
    this.#own = domid === 0 ? this.toolstack : this.hypervisor.open(domid);
    this.guest = new RawGuest(this.hypervisor.open(7), domid);
    this.node = backendVifPath(domid, VIF.domid, VIF.handle);
  }

  /** Connects the guest by the kernel's driver. @param domid of its backend. */
  static async open(domid = 0): Promise<HandoverWorld> {
    const world = new HandoverWorld(domid);
    const { store } = world.toolstack;
    await world.guest.connect(world.toolstack);
    await store.write(`${world.node}/script`, '/etc/xen/scripts/vif-bridge');
    await store.write(`${world.node}/hotplug-status`, 'connected');
    await store.write(`${world.node}/state`, '4');
    if (domid !== 0) await world.#giveRights();
    world.bound.add(VIF.id);
    world.links.set(VIF.id, SET_UP);
    return world;
  }

  get mark(): VifMark {
    return new VifMark(this.#own.store, this.#domid, VIF);
  }

  get attached(): boolean {
    return this.#daemon?.netback.vifs.get(VIF.id)?.state === 'connected';
  }

  async startDaemon(): Promise<void> {
    const xen = this.hypervisor.open(this.#domid);
    this.#daemon = { xen, netback: await this.#serve(xen, () => true) };
  }

  async killDaemon(): Promise<void> {
    if (this.#daemon === undefined) return;
    this.hypervisor.kill(this.#daemon.xen);
    this.#daemon = undefined;
  }

  async close(): Promise<void> {
    await this.#daemon?.netback[Symbol.asyncDispose]();
    await this.#daemon?.xen[Symbol.asyncDispose]();
  }

  /** Sets permissions as libxl does: each end owns its node and may read the other's. Neither domain may read the other's own nodes. */
  async #giveRights(): Promise<void> {
    const { store } = this.toolstack;
    const give = (path: string, owner: number, reader: number) =>
      store.setPermissions(path, [
        { domid: owner, access: 'none' },
        { domid: reader, access: 'read' },
      ]);
    for (const [node, owner, reader] of [
      [this.node, this.#domid, VIF.domid],
      [FRONT, VIF.domid, this.#domid],
    ] as const) {
      await give(node, owner, reader);
      for (const key of await store.list(node)) await give(`${node}/${key}`, owner, reader);
    }
    for (const domid of [this.#domid, VIF.domid]) await give(`/local/domain/${domid}`, 0, domid);
    for (const path of [
      `/local/domain/${this.#domid}/backend`,
      dirname(dirname(this.node)),
      dirname(this.node),
    ])
      await give(path, 0, this.#domid);
  }

  /** Returns the parts that a verb uses. @param stepsMax the verb is killed after this many steps. */
  parts(stepsMax = Number.POSITIVE_INFINITY): HandoverParts & { readonly steps: () => number } {
    let steps = 0;
    const step = (): void => {
      if (steps >= stepsMax) throw new Killed();
      steps += 1;
    };
    return {
      steps: () => steps,
      store: stepping(this.#own.store, step),
      kernel: stepping(this.kernel, step),
      links: stepping(this.linksSeen, step),
      domid: this.#domid,
      daemon: () => (this.#daemon === undefined ? undefined : process.pid),
      server: () => (this.#daemon === undefined ? undefined : process.pid),
      detachOnce: () => this.#letGo(),
      pause: async () => {
        this.#now += 100;
        for (let i = 0; i < 20; i++) await turn();
      },
      now: () => this.#now,
    };
  }

  readonly kernel: KernelControl = this.#kernel();

  readonly linksSeen: Links = {
    exists: (name) => this.links.has(name),
    nameOf: () => (this.links.has(this.called) ? this.called : undefined),
    read: (name) => this.links.get(name) as LinkSettings,
    apply: (name, { name: wanted = name, ...settings }) => {
      this.links.delete(name);
      this.links.set(wanted, settings);
      this.called = wanted;
    },
  };

  #kernel(): KernelControl {
    const world = this;
    return {
      interfaceOf: () => (world.bound.size > 0 ? world.called : undefined),
      serves: ({ domid, handle }) => world.bound.has(`vif${domid}.${handle}`),
      get loaded() {
        return world.loaded;
      },
      get takesNew() {
        return world.loaded;
      },
      load: async () => {
        world.loaded = true;
      },
      bind: () => world.#bind(),
      unbind: () => world.#unbind(),
    };
  }

  #unbind(): void {
    if (this.refuses === 'unbind') throw refusal('unbind');
    void this.toolstack.store.rm(`${this.node}/hotplug-status`);
    this.links.delete(this.called);
    this.bound.delete(VIF.id);
  }

  #bind(): void {
    if (this.refuses === 'bind' || this.links.has(this.called) || this.attached) throw refusal('bind');
    this.bound.add(VIF.id);
    this.called = VIF.id;
    this.links.set(VIF.id, { ...FRESH, mac: SET_UP.mac });
    void this.#probe();
  }

  async #probe(): Promise<void> {
    const { store } = this.toolstack;
    await store.write(`${this.node}/state`, '2');
    if (this.refuses === 'connecting') return;
    // As the driver does: its watch fires when it is registered, which counts as an event.
    await store.watch(`${this.node}/hotplug-status`, () => void this.#connect());
  }

  async #connect(): Promise<void> {
    const { store } = this.toolstack;
    const plugged = (await store.read(`${this.node}/hotplug-status`)) === 'connected';
    if (plugged && this.bound.has(VIF.id)) await store.write(`${this.node}/state`, '4');
  }

  async #letGo(): Promise<void> {
    await using xen = this.hypervisor.open(this.#domid);
    await using _netback = await this.#serve(xen, ({ id }) => id === VIF.id);
  }

  async #serve(xen: ModelXen, mine: (vif: VifAddress) => boolean): Promise<Netback> {
    const ownership = new Ownership({
      store: xen.store,
      domid: this.#domid,
      kernel: this.kernel,
      findTap: () => {
        const found = this.links.get(this.called);
        return found && { name: this.called, master: found.bridge === undefined ? 0 : 1 };
      },
      openTap: (options) => this.#tap(options),
    });
    const errors: string[] = [];
    const listeners = { attached: () => {}, detached: () => {}, error: (e: Error) => errors.push(e.message) };
    const netback = await Netback.open(
      {
        xen,
        accept: async (vif, serving) => mine(vif) && ownership.accept(vif, serving),
        port: (vif) => ownership.port(vif, this.bridge),
        journals: this.#journals,
      },
      ownership.listening(listeners as never),
    );
    ownership.onChange = () => void netback.look();
    return netback;
  }

  #tap({ vif, name = vif, mac, mtu, up, portFlags, bridge, bridgeIfNone, ifMade }: VifTapOptions): Port {
    this.called = name;
    const found = this.links.get(name);
    const before = found ?? { ...FRESH, ...ifMade };
    const joined = bridge ?? before.bridge ?? bridgeIfNone;
    const given = Object.entries({ bridge: joined, mac, mtu, up, port: portFlags });
    const changes = Object.fromEntries(given.filter(([, value]) => value !== undefined));
    this.links.set(name, { ...before, ...changes });
    const port = new TestPort();
    port.remove = async () => void this.links.delete(name);
    return port;
  }
}

function refusal(verb: string): VifdError {
  return new VifdError('ERR_KERNEL_DRIVER', `The kernel's xen-netback refused to ${verb} vif-7-0 (EBUSY).`);
}

/** Counts each call and each read as a step. */
function stepping<T extends Store | KernelControl | Links>(target: T, step: () => void): T {
  return new Proxy(target, {
    get(of, key) {
      const value = Reflect.get(of, key, of);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        step();
        return value.apply(of, args);
      };
    },
  });
}
