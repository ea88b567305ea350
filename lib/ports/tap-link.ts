import type { NativeTap } from '../addon.js';
import { VifdError, vifdErrorOf } from '../errors.js';
import type { Interface, Interfaces, KnownInterface } from '../host/interfaces.js';
import { type LinkSettings, settingsOf } from '../host/links.js';
import type { PortTrouble } from './port.js';

/**
 * The state that a tap's interface should have. bridged: in a bridge and up. up: up. script: any, since its hotplug script has not ended
 * yet. nothing: any, since an operator decides.
 */
export type TapExpectation = 'bridged' | 'up' | 'script' | 'nothing';

/** The last settings of a tap's interface. They outlive the port: a device that was deleted is created anew with them. */
export interface TapMemory {
  /** The name, the alias and the link of the interface. */
  settings?: { readonly name: string; readonly alias: string; readonly link: LinkSettings };
  /** The features that `ethtool -K` had switched on, for NativeTap.setFeatures. */
  features?: Uint32Array;
  /** Whether the interface was seen up; from then on, down is a fault. */
  wasUp?: boolean;
  /** The last bridge of the interface; from then on, no bridge is a fault. */
  bridge?: { readonly index: number; readonly name: string; readonly port: Readonly<Record<string, string>> };
  /** Whether the bridge was deleted, so that no administrator took the tap out of it. */
  bridgeDeleted?: boolean;
}

/** A device that this process made, the address that it gave to the device, and when, in seconds of this process. */
export interface MadeDevice {
  readonly mac: string;
  readonly at: number;
}

export interface TapFollowerOptions {
  readonly network: Interfaces;
  readonly name: string;
  readonly made: MadeDevice | undefined;
  /** Reads the device; undefined if the port is closed. */
  readonly look: () => ReturnType<NativeTap['look']> | undefined;
  readonly features: () => Uint32Array;
  /** Whether vifd has set the carrier and not removed it since. */
  readonly wantsCarrier: () => boolean;
  readonly memory: TapMemory | undefined;
  readonly expects: (() => Promise<TapExpectation>) | undefined;
}

/**
 * libxl ends a script after 40 s (LIBXL_HOTPLUG_TIMEOUT). In a driver domain without `xl devd` no script begins, and only this reports it.
 */
const SCRIPT_MS = 45_000;

/**
 * How long vifd waits after a change before it reads the interface, so that a series of changes is over: a hotplug script sets an interface
 * down to rename it, and a device that is deleted goes down and leaves its bridge first.
 */
const SETTLE_MS = 200;

/** How long the report of a fault waits for the store, which has whether the hotplug script has run: xenstored may be away. */
const STORE_MS = 300;

/** How often vifd reads a tap in another network namespace, about which no messages come, and one that could not be read. */
const LOOK_AGAIN_MS = 1000;

/**
 * systemd-udevd gives a new device an address of its own (MACAddressPolicy=persistent, systemd.link(5)), perhaps after it was
 * given one here; with that, the bridge could change its own address. It does so once, and soon.
 */
const NEW_S = 30;

/** linux/if_bridge.h, BR_STATE_DISABLED: no spanning tree protocol leaves a port so. */
const PORT_DISABLED = 0;

/** Follows the interface of a tap: reports why it passes no frames, and remembers its settings. */
export class TapFollower implements Disposable {
  readonly #options: TapFollowerOptions;
  readonly #network: Interfaces;
  readonly #listener: (trouble: PortTrouble | undefined) => void;
  readonly #memory: TapMemory;
  #following: Disposable | undefined;
  #timer: NodeJS.Timeout | undefined;
  #index: number | undefined;
  /** The revisions of the interfaces when they were read last. */
  #seen: readonly (number | undefined)[] = [];
  #reported: string | undefined;
  /** The expectation at the last read of the store. */
  #expected: TapExpectation | undefined;
  /** When the script was first found not to have ended (monotonic ms). */
  #scriptSinceMs: number | undefined;
  #made: MadeDevice | undefined;
  #over = false;

  constructor(options: TapFollowerOptions, listener: (trouble: PortTrouble | undefined) => void) {
    this.#options = options;
    this.#network = options.network;
    this.#listener = listener;
    this.#memory = options.memory ?? {};
    this.#made = options.made;
    this.#look();
  }

  [Symbol.dispose](): void {
    this.#over = true;
    clearTimeout(this.#timer);
    this.#following?.[Symbol.dispose]();
  }

  #onChange(): void {
    if (this.#over) return;
    const seen = this.#revisions();
    if (seen.every((revision, at) => revision === this.#seen[at])) return;
    this.#seen = seen;
    // The interface has left this namespace, so no more changes follow.
    if (seen[0] === undefined && this.#index !== undefined) this.#look();
    else this.#again(SETTLE_MS);
  }

  #revisions(): (number | undefined)[] {
    return this.#known().map((known) => known?.revision);
  }

  /** Returns the interface and its master, or the new bridge of the same name if the bridge was deleted. */
  #known(): (KnownInterface | undefined)[] {
    const own = this.#index === undefined ? undefined : this.#network.known(this.#index);
    const { bridge, bridgeDeleted } = this.#memory;
    if (own !== undefined && own.master !== 0) return [own, this.#network.known(own.master)];
    return [own, bridgeDeleted === true && bridge ? this.#network.known(bridge.name) : undefined];
  }

  #again(ms: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#look();
    }, ms).unref();
  }

  #look(): void {
    if (this.#over) return;
    try {
      this.#following ??= this.#network.follow(() => this.#onChange());
      this.#lookAt(this.#options.look());
    } catch (error) {
      // Without a descriptor nothing can be read.
      this.#report(vifdErrorOf(error), false);
      this.#again(LOOK_AGAIN_MS);
    }
  }

  #lookAt(tap: ReturnType<TapFollowerOptions['look']>): void {
    if (tap === undefined) return;
    if (typeof tap === 'number') {
      const message = `Tap ${this.#options.name} was deleted, not by vifd: vifd makes it anew, set up as it was.`;
      this.#report(new VifdError('ERR_TAP', message, { errno: 'EBADFD' }), true);
      return;
    }
    // Asks the kernel, which responds only when a deletion that has begun is complete.
    const link = tap.here ? this.#network.find(tap.name) : undefined;
    this.#index = link?.index;
    if (link !== undefined) {
      const fault = this.#keepAddress(link) ?? this.#judge(link);
      this.#remember(link);
      this.#seen = this.#revisions();
      if (fault === undefined && link.up && link.master !== 0) this.#report(undefined, false);
      else this.#compare(link, fault);
    } else if (tap.here) {
      // The interface was renamed or deleted between the two reads.
      this.#again(SETTLE_MS);
    } else {
      // The descriptor works, so frames pass. The administrator who moved the interface there is responsible for its settings.
      this.#report(undefined, false);
      this.#again(LOOK_AGAIN_MS);
    }
  }

  /** Restores the address after systemd-udevd has changed it. A second or a late change comes from an administrator, and stays. */
  #keepAddress({ name, index, mac }: Interface): VifdError | undefined {
    const made = this.#made;
    if (made === undefined || mac === made.mac) return undefined;
    this.#made = undefined;
    if (process.uptime() - made.at > NEW_S) return undefined;
    const refusal = this.#network.change(index, { mac: made.mac });
    if (refusal === undefined) return undefined;
    return wrong(
      `${name} has another address than it was made with, and cannot be given that again (${refusal.text}): ` +
        `\`ip link set ${name} address ${made.mac}\``,
    );
  }

  /** @returns the difference from the last settings, with its remedy. */
  #judge(link: Interface): VifdError | undefined {
    const { wasUp, bridge } = this.#memory;
    if (!link.up && wasUp === true)
      return wrong(`${link.name} was set down, so no frames pass: \`ip link set ${link.name} up\``);
    if (link.up && !link.carrier && this.#options.wantsCarrier())
      return wrong(
        `The carrier of ${link.name} was switched off, not by vifd, so no frames pass: \`ip link set ${link.name} carrier on\``,
      );
    if (link.master !== 0) return this.#judgeMaster(link);
    if (bridge === undefined) return undefined;
    this.#memory.bridgeDeleted ??= this.#network.find(bridge.index) === undefined;
    if (!this.#memory.bridgeDeleted)
      return wrong(
        `${link.name} was taken out of ${bridge.name}: \`ip link set ${link.name} master ${bridge.name}\``,
      );
    return this.#rejoin(link, bridge);
  }

  #judgeMaster({ name, master, running, portState }: Interface): VifdError | undefined {
    const bridge = this.#network.find(master);
    if (bridge === undefined) return undefined;
    if (!bridge.up)
      return wrong(
        `${bridge.name}, the bridge of ${name}, is down, so no frames pass: \`ip link set ${bridge.name} up\``,
      );
    // The kernel itself disables the port of an interface that is not running yet, or not any more.
    if (!running || portState !== PORT_DISABLED) return undefined;
    return wrong(
      `The port of ${name} in ${bridge.name} is disabled, so no frames pass: \`bridge link set dev ${name} state 3\``,
    );
  }

  /** Puts the tap into a bridge that was made anew, which has none of its earlier ports. */
  #rejoin(link: Interface, { name, port }: NonNullable<TapMemory['bridge']>): VifdError | undefined {
    const anew = this.#network.find(name);
    if (anew === undefined || anew.kind !== 'bridge')
      return wrong(
        `${name}, the bridge of ${link.name}, was deleted: \`ip link add ${name} type bridge\` and ` +
          `\`ip link set ${name} up\`; vifd then puts ${link.name} into it`,
      );
    const flags = Object.fromEntries(Object.entries(port).map(([flag, value]) => [flag, Number(value)]));
    const refusal =
      this.#network.change(link.index, { master: anew.index }) ?? this.#network.changePort(link.index, flags);
    this.#again(SETTLE_MS);
    if (refusal === undefined)
      return wrong(`${link.name} joins ${name}, which was made anew: no remedy is needed`);
    const command = `ip link set ${link.name} master ${name}`;
    return wrong(
      `${link.name} cannot be put into ${name}, which was made anew (${refusal.text}): \`${command}\``,
    );
  }

  #remember(link: Interface): void {
    const memory = this.#memory;
    if (link.up) memory.wasUp = true;
    const features = this.#options.features();
    if (features.length > 0) memory.features = features;
    if (link.masterKind !== '' && link.masterKind !== 'bridge') {
      // vifd cannot put the tap into this bridge again. In a bridge of Open vSwitch, for example, its daemon does that.
      delete memory.bridge;
      memory.settings = {
        name: link.name,
        alias: link.alias,
        link: settingsOf(this.#network, { ...link, master: 0 }),
      };
      return;
    }
    const settings = settingsOf(this.#network, link);
    memory.settings = { name: link.name, alias: link.alias, link: settings };
    if (settings.bridge === undefined) return;
    memory.bridge = { index: link.master, name: settings.bridge, port: settings.port };
    delete memory.bridgeDeleted;
  }

  /**
   * Compares the interface with the expectation. A state that vifd never saw as expected may be a fault all the same, because after a restart
   * earlier changes are unknown. While a hotplug script sets the interface up, down is no fault.
   */
  #compare(link: Interface, fault: VifdError | undefined): void {
    const { expects } = this.#options;
    if (expects === undefined) {
      this.#report(fault, false);
      return;
    }
    const isOld = () => this.#over || this.#network.known(link.index)?.revision !== this.#seen[0];
    const late = setTimeout(() => {
      // The script may still run, so nothing is a fault until the store responds.
      if (fault !== undefined && !isOpen(this.#expected) && !isOld()) this.#report(fault, false);
    }, STORE_MS).unref();
    expects()
      .then(
        (expected) => {
          this.#expected = expected;
          if (isOld()) return;
          if (expected !== 'script') this.#scriptSinceMs = undefined;
          // The end of the script is reported in the store and by no message about the interface.
          else this.#again(LOOK_AGAIN_MS);
          if (expected === 'script') this.#report(this.#lateScript(link), false);
          else if (expected === 'nothing') this.#report(undefined, false);
          else this.#report(fault ?? unexpected(link, expected), false);
        },
        (error) => {
          if (!this.#over) this.#report(fault ?? vifdErrorOf(error), false);
          this.#again(LOOK_AGAIN_MS);
        },
      )
      .finally(() => clearTimeout(late));
  }

  #lateScript({ name }: Interface): VifdError | undefined {
    this.#scriptSinceMs ??= performance.now();
    if (performance.now() - this.#scriptSinceMs < SCRIPT_MS) return undefined;
    return wrong(
      `The hotplug script of ${name} has not ended within ${SCRIPT_MS / 1000} s, so the guest may reach nothing: see the script's log; ` +
        'in a driver domain `vifd check` shows whether `xl devd` runs',
    );
  }

  #report(error: VifdError | undefined, lost: boolean): void {
    if (this.#over || (error?.message === this.#reported && !lost)) return;
    this.#reported = error?.message;
    // The listener opens another port.
    if (lost) this[Symbol.dispose]();
    this.#listener(error === undefined ? undefined : { error, lost });
  }
}

/** @returns whether any state of the interface is as expected. */
function isOpen(expected: TapExpectation | undefined): boolean {
  return expected === 'nothing' || expected === 'script';
}

function unexpected({ name, up, master }: Interface, expected: TapExpectation): VifdError | undefined {
  if (!isOpen(expected) && !up)
    return wrong(`${name} is down, so no frames pass: \`ip link set ${name} up\``);
  if (expected !== 'bridged' || master !== 0) return undefined;
  return wrong(
    `${name} is in no bridge, so frames reach this host alone: \`ip link set ${name} master BRIDGE\`, or start vifd ` +
      'with --bridge, or have the toolstack name a bridge',
  );
}

function wrong(message: string): VifdError {
  return new VifdError('ERR_LINK', `${message}.`);
}
