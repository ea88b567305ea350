import { command } from './children.js';

/** A bridge of the host, with an address, and with an uplink so that the bridge is up while no guest is connected. */
export interface BridgePlan {
  readonly name: string;
  readonly address: string;
  readonly mac: string;
}

/** Runs ip(8) in the namespace of this process. */
export function ip(...words: string[]): Promise<string> {
  return command('ip', ...words);
}

export async function makeBridge({ name, address, mac }: BridgePlan): Promise<void> {
  // Sets a MAC: otherwise the bridge takes one from its ports, and changes it when ports come and go.
  await ip('link', 'add', name, 'address', mac, 'type', 'bridge');
  const uplink = `${name}-up`;
  if (!(await links()).some((link) => link.name === uplink))
    await ip('link', 'add', uplink, 'type', 'veth', 'peer', 'name', `${name}-wire`);
  await ip('link', 'set', uplink, 'master', name, 'up');
  await ip('link', 'set', `${name}-wire`, 'up');
  await ip('address', 'add', `${address}/24`, 'dev', name);
  await ip('link', 'set', name, 'up');
}

/** Gives the host a permanent entry for a guest's address, so that tests measure the vif, not ARP. */
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
