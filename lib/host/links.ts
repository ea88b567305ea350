import { VifdError } from '../errors.js';
import type { Interface, InterfaceChange, Interfaces, Refusal } from './interfaces.js';
import { interfaces } from './netlink-interfaces.js';
import { findTap } from './vif-taps.js';

/**
 * Settings of an interface that must survive a change of its driver. The store has them (`vifd/keep`), so older texts must stay readable.
 */
export interface LinkSettings {
  /** The Linux bridge that the interface is in. */
  readonly bridge?: string;
  /** The name of the interface, if it differs from that of its vif (`vifname`). */
  readonly name?: string;
  /** The MAC address of the interface, as fe:ff:ff:ff:ff:ff. */
  readonly mac: string;
  /** The MTU, in bytes. */
  readonly mtu: number;
  /** Whether the interface is up. */
  readonly up: boolean;
  /** Flags of the bridge's port, by their names in sysfs; '0' or '1'. */
  readonly port: Readonly<Record<string, string>>;
}

/** The host's network interfaces, as the verbs `adopt` and `release` read and change them. */
export interface Links {
  exists(name: string): boolean;
  /** @returns the name of a vif's interface, which others may have renamed; undefined if there is none. */
  nameOf(vif: string): string | undefined;
  /** Reads the settings of an interface. @throws VifdError ERR_LINK if it does not exist, or if its master is not a Linux bridge. */
  read(name: string): LinkSettings;
  /**
   * Changes the settings that differ. The address and MTU are set before the interface joins the bridge, and it goes up last.
   * @throws VifdError ERR_LINK with the step that failed.
   */
  apply(name: string, settings: LinkSettings): void;
}

export class HostLinks implements Links {
  readonly #network: Interfaces;

  constructor(network: Interfaces = interfaces()) {
    this.#network = network;
  }

  exists(name: string): boolean {
    return this.#network.find(name) !== undefined;
  }

  nameOf(vif: string): string | undefined {
    return (findTap(this.#network, vif) ?? this.#network.find(vif))?.name;
  }

  read(name: string): LinkSettings {
    return settingsOf(this.#network, requireLink(this.#network, name));
  }

  apply(name: string, settings: LinkSettings): void {
    const before = requireLink(this.#network, name);
    applySettings(this.#network, before, settings, (step, refusal) => {
      const { errno, text } = refusal;
      throw new VifdError('ERR_LINK', `The interface ${name}: ${step} failed (${text}).`, { errno });
    });
  }
}

/** Returns the settings of an interface. @throws VifdError ERR_LINK if its master is not a Linux bridge. */
export function settingsOf(network: Interfaces, link: Interface): LinkSettings {
  const { mac, mtu, up, port = {}, name } = link;
  const flags = Object.fromEntries(Object.entries(port).map(([flag, value]) => [flag, `${value}`]));
  if (link.master === 0) return { mac, mtu, up, port: {} };
  const bridge = network.find(link.master)?.name ?? `interface ${link.master}`;
  if (link.masterKind === 'bridge') return { bridge, mac, mtu, up, port: flags };
  throw new VifdError(
    'ERR_LINK',
    `${name} is in ${bridge}, which is not a Linux bridge: vifd cannot put its tap into that.`,
  );
}

/**
 * Changes those of the given settings that differ. An interface that is in the bridge already, because of an
 * earlier process perhaps, stays there.
 * @param onRefusal called with the step that failed; the steps after it are left out.
 */
export function applySettings(
  network: Interfaces,
  before: Interface,
  settings: Partial<LinkSettings>,
  onRefusal: (step: string, refusal: Refusal) => never,
): void {
  const { index } = before;
  const change = (step: string, asked: InterfaceChange): void => {
    const refusal = network.change(index, asked);
    if (refusal !== undefined) onRefusal(step, refusal);
  };
  const { name, mtu, mac, bridge, port, up } = settings;
  if (name !== undefined && name !== before.name) change(`the name ${name}`, { name });
  if (mtu !== undefined && mtu !== before.mtu) change(`MTU ${mtu}`, { mtu });
  if (mac !== undefined && mac !== before.mac) change(`address ${mac}`, { mac });
  if (bridge !== undefined) join(network, before, bridge, change, onRefusal);
  if (port !== undefined) setPort(network, index, port, onRefusal);
  if (up !== undefined && up !== before.up) change(up ? 'going up' : 'going down', { up });
}

function join(
  network: Interfaces,
  before: Interface,
  name: string,
  change: (step: string, asked: InterfaceChange) => void,
  onRefusal: (step: string, refusal: Refusal) => never,
): void {
  const bridge = network.find(name);
  const step = `joining bridge ${name}`;
  if (bridge === undefined) {
    const remedy = `there is no ${name}; make it with \`ip link add ${name} type bridge\``;
    onRefusal(step, { errno: 'ENODEV', text: `ENODEV: ${remedy}` });
  }
  if (bridge.kind !== 'bridge')
    onRefusal(step, { errno: 'EINVAL', text: `EINVAL: ${name} is not a Linux bridge` });
  if (before.master !== bridge.index) change(step, { master: bridge.index });
}

function setPort(
  network: Interfaces,
  index: number,
  wanted: Readonly<Record<string, string>>,
  onRefusal: (step: string, refusal: Refusal) => never,
): void {
  if (Object.keys(wanted).length === 0) return;
  const has = network.find(index)?.port;
  if (has === undefined)
    onRefusal("setting its bridge port's flags", {
      errno: 'EINVAL',
      text: 'EINVAL: it is in no Linux bridge',
    });
  const flags: Record<string, number> = {};
  for (const [flag, value] of Object.entries(wanted)) {
    // Kernels have different flags; a flag that this kernel lacks has no effect and is left out.
    if (flag in has && has[flag] !== Number(value)) flags[flag] = Number(value);
  }
  if (Object.keys(flags).length === 0) return;
  const refusal = network.changePort(index, flags);
  if (refusal !== undefined)
    onRefusal(`setting ${Object.keys(flags).join(', ')} of its bridge port`, refusal);
}

function requireLink(network: Interfaces, name: string): Interface {
  const link = network.find(name);
  if (link !== undefined) return link;
  throw new VifdError('ERR_LINK', `There is no interface ${name}: \`ip link\` shows those that there are.`);
}
