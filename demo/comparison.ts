import { Child, command, enter, GUARD } from '../worlds/processes/children.js';
import { promised, within } from '../worlds/processes/wait.js';
import { WorldError } from '../worlds/world-error.js';
import type { Place } from './streams.js';

export type Comparison =
  | {
      readonly vifdGbits: number;
      readonly bridgeGbits: number;
      readonly ratio: number;
      readonly seconds: number;
    }
  | { readonly skipped: string };

const SECONDS = 3;
const BRIDGE = 'br1';
const ADDRESSES = ['10.78.0.2', '10.78.0.3'] as const;

/** Measures TCP from `client` to `server` through vifd, then between two namespaces that veth pairs and a Linux bridge join. */
export async function compareWithBridge(
  server: Place,
  client: Place,
  signal: AbortSignal,
): Promise<Comparison> {
  try {
    await command('iperf3', '--version');
  } catch {
    return { skipped: 'iperf3 is not installed: `sudo apt-get install -y iperf3` adds a comparison' };
  }
  const vifdGbits = await measure(server, client, signal);
  const holders: Child[] = [];
  try {
    await command('ip', 'link', 'add', BRIDGE, 'type', 'bridge');
    await command('ip', 'link', 'set', BRIDGE, 'up');
    for (const address of ADDRESSES) holders.push(await plugIn(address));
    const [far, near] = ADDRESSES.map((address, i) => placeOf(holders[i] as Child, address)) as [
      Place,
      Place,
    ];
    const bridgeGbits = await measure(far, near, signal);
    return { vifdGbits, bridgeGbits, ratio: vifdGbits / bridgeGbits, seconds: SECONDS };
  } finally {
    for (const holder of holders) await holder.end('SIGKILL');
    await command('ip', 'link', 'delete', BRIDGE).catch(() => undefined);
  }
}

/** Makes a namespace, which lasts as long as an idle process in it, and a veth pair between it and the bridge. */
async function plugIn(address: string): Promise<Child> {
  const inside = promised();
  const holder = await Child.start({
    name: 'a namespace without vifd',
    command: ['unshare', '--net', '--', ...GUARD, 'sh', '-c', 'echo inside; exec sleep infinity'],
    onLine: inside.keep,
  });
  await inside.done;
  const port = `veth${address.split('.').at(-1)}`;
  await command(
    'ip',
    'link',
    'add',
    port,
    'type',
    'veth',
    'peer',
    'name',
    'eth0',
    'netns',
    String(holder.pid),
  );
  await command('ip', 'link', 'set', port, 'master', BRIDGE, 'up');
  const ip = [...placeOf(holder, address).enter, 'ip'];
  await command(...ip, 'address', 'add', `${address}/24`, 'dev', 'eth0');
  await command(...ip, 'link', 'set', 'eth0', 'up');
  return holder;
}

function placeOf(holder: Child, address: string): Place {
  return { name: holder.name, address, enter: enter(holder.pid) };
}

/** @returns the received data, in Gbit/s. */
async function measure(server: Place, client: Place, signal: AbortSignal): Promise<number> {
  const listening = promised();
  const listener = await Child.start({
    name: 'iperf3',
    command: [...server.enter, ...GUARD, 'iperf3', '--server', '--one-off', '--forceflush'],
    onLine: (line) => line.includes('listening') && listening.keep(),
  });
  try {
    await within(listening.done, { what: "iperf3's server", signal });
    const program = ['iperf3', '--client', server.address, '--time', String(SECONDS), '--json'];
    const run = command(...client.enter, ...GUARD, ...program);
    const output = await within(run, { what: 'iperf3', signal, timeoutMs: SECONDS * 1000 + 15_000 });
    return receivedGbits(JSON.parse(output));
  } finally {
    await listener.end('SIGKILL');
  }
}

function receivedGbits(report: {
  end?: { sum_received?: { bits_per_second?: number } };
  error?: string;
}): number {
  const rate = report.end?.sum_received?.bits_per_second;
  if (rate === undefined)
    throw new WorldError(`iperf3 measured nothing: ${report.error ?? 'it does not say why'}`);
  return rate / 1e9;
}
