import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { interfaces } from '../../lib/host/netlink-interfaces.js';
import { GUEST_MAC, type LinksWorld, NODE, SOON, START_MS, withLinks } from './links-world.js';

/** A program that sends given frames from one interface towards another, and prints how many bytes of each arrived. */
const PASSES = `
import json, socket, sys
def opened(name):
    one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(0x88b5))
    one.bind((name, 0x88b5))
    one.settimeout(0.5)
    return one
def passes(source, target, text):
    frame = bytes.fromhex(text)
    with opened(source) as sender, opened(target) as receiver:
        for attempt in range(10):
            sender.send(frame)
            try:
                while True:
                    came, where = receiver.recvfrom(65536)
                    if where[2] != socket.PACKET_OUTGOING and came == frame: return len(came)
            except TimeoutError: pass
    return 0
print(json.dumps([passes(*one) for one in json.load(sys.stdin)]))
`;

/** An Ethernet frame of a protocol for experiments. */
function frameOf(bytes: number, to: string, from: string): string {
  const hex = (mac: string) => mac.replaceAll(':', '');
  return `${hex(to)}${hex(from)}88b5`.padEnd(bytes * 2, '5a');
}

/** @param frames source, target and frame of each. @returns the length of each as it came; 0 if it did not. */
function passes(frames: readonly (readonly [string, string, string])[]): number[] {
  return JSON.parse(
    execFileSync('python3', ['-c', PASSES], { input: JSON.stringify(frames), encoding: 'utf8' }),
  );
}

function tests(world: LinksWorld): void {
  const { vifd, connect, newVif, send, came, reaches, shown, link, ip } = world;
  const carrier = (name = 'vif7.0') => readFileSync(`/sys/class/net/${name}/carrier`, 'utf8').trim();
  const changes = () => Number(readFileSync('/sys/class/net/vif7.0/carrier_changes', 'utf8'));
  const waiting = () => expect.poll(() => world.store.read(`${NODE}/state`), { timeout: START_MS }).toBe('2');
  const feature = (name: string, device = 'vif7.0') =>
    new RegExp(`^${name}: (\\w+)`, 'm').exec(
      execFileSync('ethtool', ['-k', device], { encoding: 'utf8' }),
    )?.[1];
  const errors = (daemon: ReturnType<typeof vifd>) => daemon.messages('error');

  it('gives a tap no carrier without a guest, and a guest that connects nothing that was sent before', async () => {
    await newVif();
    const daemon = vifd(['--bridge', 'br0']);
    await waiting();
    expect(carrier()).toBe('0');
    await send(300);
    for (const round of [1, 2]) {
      const guest = await connect();
      await expect.poll(carrier, SOON).toBe('1');
      expect(came()).toBe(0);
      expect(await reaches()).toBe(true);
      const before = changes();
      await guest.end('SIGTERM');
      await expect.poll(carrier, SOON).toBe('0');
      expect(changes()).toBe(before + 1);
      await send(300 * round);
    }
    expect(errors(daemon)).toEqual([]);
  });

  it('shows whether the link is up', async () => {
    await newVif();
    vifd(['--bridge', 'br0']);
    await waiting();
    await expect.poll(() => shown()?.link, SOON).toBe('down');
    await connect();
    expect(shown()).toMatchObject({ link: 'up', state: 'connected' });
    const text = spawnSync(
      process.execPath,
      ['dist/vifd.cjs', 'show', '--journal', join(world.directory, 'j')],
      {
        encoding: 'utf8',
      },
    );
    expect(text.stdout).toMatch(/^ +port +vif7\.0, link up$/m);
  });

  it('does what a hotplug script and an operator switch off: it stays off over reconnects, kills and a deleted tap', async () => {
    await newVif({ script: '/etc/xen/scripts/vif-bridge' });
    const args = ['--bridge', 'br0'];
    let daemon = vifd(args);
    await waiting();
    execFileSync('ethtool', ['-K', 'vif7.0', 'tx', 'off']);
    await world.store.write(`${NODE}/hotplug-status`, 'connected');
    const guest = await connect();
    expect(feature('tx-checksumming')).toBe('off');
    expect(await reaches()).toBe(true);
    execFileSync('ethtool', ['-K', 'vif7.0', 'tx', 'on', 'sg', 'off']);
    expect(feature('tx-checksumming')).toBe('on');
    await daemon.end('SIGKILL');
    daemon = vifd(args);
    await daemon.until('attached');
    expect([feature('tx-checksumming'), feature('scatter-gather')]).toEqual(['on', 'off']);
    execFileSync('ethtool', ['-K', 'vif7.0', 'tso', 'off']);
    await guest.end('SIGTERM');
    await expect.poll(carrier, SOON).toBe('0');
    await connect();
    expect(await reaches()).toBe(true);
    const all = ['tx-checksumming', 'scatter-gather', 'tcp-segmentation-offload'];
    expect(all.map((name) => feature(name))).toEqual(['on', 'off', 'off']);
    await sleep(600);
    ip('link', 'delete', 'vif7.0');
    await daemon.until('attached', 3);
    expect(all.map((name) => feature(name))).toEqual(['on', 'off', 'off']);
    expect(await reaches()).toBe(true);
  });

  it('finds a tap that was renamed while it was used, though another interface has its old name now', async () => {
    await newVif();
    const args = ['--bridge', 'br0'];
    const first = vifd(args);
    await connect();
    for (const words of ['vif7.0 down', 'vif7.0 name web0', 'web0 up'])
      ip('link', 'set', ...words.split(' '));
    expect(await reaches()).toBe(true);
    await expect.poll(() => shown()?.port, SOON).toBe('web0');
    await first.end('SIGKILL');
    ip('link', 'add', 'vif7.0', 'type', 'veth', 'peer', 'name', 'peer0');
    const second = vifd(args);
    expect(await second.until('attached')).toMatchObject({ resumed: true });
    expect(await reaches()).toBe(true);
    expect(link('web0')).toMatchObject({ bridge: 'br0', up: true });
    await sleep(600);
    ip('link', 'delete', 'web0');
    await second.until('attached', 2);
    expect(link('web0')).toMatchObject({ bridge: 'br0', up: true });
    await world.store.rm(NODE);
    await expect.poll(() => link('web0'), SOON).toBeUndefined();
    expect(interfaces().find('vif7.0')?.kind).toBe('veth');
  });

  it('serves a vif whose `vifname` is the name of another interface, by the name that the tap has', async () => {
    ip('link', 'add', 'web0', 'type', 'veth', 'peer', 'name', 'peer0');
    await newVif({ bridge: 'br0' });
    await world.store.write(`${NODE}/vifname`, 'web0');
    const first = vifd(['--bridge', 'br0']);
    await connect();
    expect(await reaches()).toBe(true);
    await first.end('SIGKILL');
    const second = vifd(['--bridge', 'br0']);
    expect(await second.until('attached')).toMatchObject({ resumed: true });
    expect(await reaches()).toBe(true);
    expect(link('vif7.0')?.bridge).toBe('br0');
    expect([...errors(first), ...errors(second)]).toEqual([]);
  });

  it("makes a tap with the toolstack's MTU, and leaves it to operators from then on, over reconnects and restarts", async () => {
    await newVif();
    await world.store.write(`${NODE}/mtu`, '1400');
    const args = ['--bridge', 'br0'];
    const first = vifd(args);
    await waiting();
    expect(link('vif7.0')?.mtu).toBe(1400);
    const guest = await connect();
    // Linux's netback too leaves the key to the hotplug script, which runs once.
    await world.store.write(`${NODE}/mtu`, '1300');
    await sleep(300);
    expect(link('vif7.0')?.mtu).toBe(1400);
    ip('link', 'set', 'vif7.0', 'mtu', '9000');
    expect(await reaches()).toBe(true);
    await guest.end('SIGTERM');
    await connect();
    expect(await reaches()).toBe(true);
    expect(link('vif7.0')?.mtu).toBe(9000);
    await first.end('SIGKILL');
    const second = vifd(args);
    await second.until('attached');
    expect(link('vif7.0')?.mtu).toBe(9000);
    expect(await reaches()).toBe(true);
    expect([...errors(first), ...errors(second)]).toEqual([]);
  });

  it.each(['copy', 'map'])(
    'passes jumbo frames, any source address and frames to any address, both ways, over a SIGKILL, payload: %s',
    async (payload) => {
      ip('link', 'add', 'nic0', 'mtu', '9000', 'type', 'veth', 'peer', 'name', 'wire0', 'mtu', '9000');
      for (const name of ['nic0', 'wire0']) ip('link', 'set', name, 'up');
      ip('link', 'set', 'nic0', 'master', 'br0');
      await newVif();
      await world.store.write(`${NODE}/mtu`, '9000');
      const args = ['--bridge', 'br0', '--payload', payload];
      const first = vifd(args);
      await connect(['--mtu', '9000']);
      const [spoofed, elsewhere, broadcast] = ['02:00:00:00:77:01', '02:00:00:00:77:02', 'ff:ff:ff:ff:ff:ff'];
      const outside = '02:00:00:00:00:99';
      const all = (): number[] =>
        passes([
          ['eth0', 'wire0', frameOf(9014, broadcast, GUEST_MAC)],
          ['eth0', 'wire0', frameOf(60, broadcast, spoofed)],
          ['eth0', 'wire0', frameOf(1514, elsewhere, spoofed)],
          ['wire0', 'eth0', frameOf(9014, broadcast, outside)],
          // To an address that the bridge knows at no port, so that it sends the frame to all.
          ['wire0', 'eth0', frameOf(1514, elsewhere, outside)],
          // To the address that the guest has sent from.
          ['wire0', 'eth0', frameOf(9014, spoofed, outside)],
        ]);
      expect(all()).toEqual([9014, 60, 1514, 9014, 1514, 9014]);
      await first.end('SIGKILL');
      const second = vifd(args);
      await second.until('attached');
      expect(all()).toEqual([9014, 60, 1514, 9014, 1514, 9014]);
    },
    60_000,
  );
}

withLinks(import.meta.url, "vifd run, its taps' links and what their host makes of them", tests);
