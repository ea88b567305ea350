import { command } from './children.js';

/** A bridge of the host, with an address on it and an uplink that keeps it up while no guest is connected. */
export interface BridgePlan {
  readonly name: string;
  readonly address: string;
  readonly mac: string;
}

/** ip(8) in the namespace that we are in. */
export function ip(...words: string[]): Promise<string> {
  return command('ip', ...words);
}

export async function makeBridge({ name, address, mac }: BridgePlan): Promise<void> {
  // A MAC of its own: else the bridge takes one from its ports, and changes it when they come and go.
  await ip('link', 'add', name, 'address', mac, 'type', 'bridge');
  const uplink = `${name}-up`;
  if (!(await links()).some((link) => link.name === uplink))
    await ip('link', 'add', uplink, 'type', 'veth', 'peer', 'name', `${name}-wire`);
  await ip('link', 'set', uplink, 'master', name, 'up');
  await ip('link', 'set', `${name}-wire`, 'up');
  await ip('address', 'add', `${address}/24`, 'dev', name);
  await ip('link', 'set', name, 'up');
}

/** The host knows a guest's address for good: what is measured is the vif, and not how often ARP asks. */
export async function knowNeighbour(bridge: string, address: string, mac: string): Promise<void> {
  await ip('neighbour', 'replace', address, 'lladdr', mac, 'dev', bridge, 'nud', 'permanent');
}

export interface HostLink {
  readonly name: string;
  readonly master: string | undefined;
  readonly up: boolean;
}

/** All interfaces, by name. */
export async function links(): Promise<HostLink[]> {
  const all: { ifname: string; master?: string; flags: string[] }[] = JSON.parse(await ip('-json', 'link'));
  const found = all.map(({ ifname, master, flags }) => ({ name: ifname, master, up: flags.includes('UP') }));
  return found.sort((a, b) => a.name.localeCompare(b.name));
}
