import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HostLinks, type LinkSettings } from '../../lib/host/links.js';
import { interfaces, NetlinkInterfaces } from '../../lib/host/netlink-interfaces.js';
import { findTap } from '../../lib/host/vif-taps.js';
import type { Port, PortTrouble } from '../../lib/ports/port.js';
import { tap } from '../../lib/ports/tap.js';
import { ip, withTaps } from '../tap-network.js';
import { ServedInterfaces } from './served-interfaces.js';

const MAC = 'fe:ff:ff:ff:ff:ff';

describe('netlink', () => {
  it('is behind one file', () => {
    const lib = readdirSync('lib', { recursive: true, encoding: 'utf8' }).filter((file) =>
      file.endsWith('.ts'),
    );
    const users = lib.filter((file) =>
      /\b(openLinks|followLinks)\b/.test(readFileSync(`lib/${file}`, 'utf8')),
    );
    expect(users.sort()).toEqual(['addon.ts', 'host/netlink-interfaces.ts']);
  });
});

function runTests(): void {
  let network: ServedInterfaces;
  const ports: Port[] = [];
  beforeEach(() => {
    network = new ServedInterfaces();
  });
  afterEach(async () => {
    for (const port of ports.splice(0)) await port.remove?.();
    await network[Symbol.asyncDispose]();
  });

  it('are the same as this process sees them', () => {
    ip('tuntap', 'add', 'web0', 'mode', 'tap');
    ip('link', 'set', 'web0', 'master', 'br0', 'alias', 'vifd vif7.0');
    const own = new NetlinkInterfaces();
    expect(network.list()).toEqual(own.list());
    expect(network.find('web0')).toEqual(own.find('web0'));
    expect(network.find('web9')).toBeUndefined();
    expect(network.dropped(network.find('web0')!.index)).toBe(0);
    expect(network.dropped(1 << 20)).toBeUndefined();
    expect(findTap(network, 'vif7.0')?.name).toBe('web0');
    expect(network.remove(network.find('web0')!.index)).toBeUndefined();
    expect(own.find('web0')).toBeUndefined();
  });

  it('are set up, and refuse, as by this process', () => {
    ip('tuntap', 'add', 'vif7.0', 'mode', 'tap');
    const wanted: LinkSettings = { bridge: 'br0', mac: MAC, mtu: 9000, up: true, port: { isolated: '1' } };
    new HostLinks(network).apply('vif7.0', wanted);
    expect(new HostLinks().read('vif7.0')).toMatchObject({ ...wanted, port: { isolated: '1' } });
    const { index } = network.find('vif7.0')!;
    const changes = [{ mtu: 12 }, { name: 'br0' }, { master: 1 << 20 }, { mac: '01:00:5e:00:00:01' }];
    for (const change of changes)
      expect(network.change(index, change)).toEqual(interfaces().change(index, change));
    expect(network.change(index, { mtu: 12 })).toMatchObject({ errno: 'EINVAL' });
    expect(network.remove(1 << 20)).toEqual({ errno: 'ENODEV', text: expect.stringMatching(/^ENODEV/) });
    network.remove(index);
  });

  it('are known while they are followed, and a revision shows that a message came', async () => {
    expect(network.known('br0')).toBeUndefined();
    let heard = 0;
    const following = network.follow(() => heard++);
    const before = network.known('br0')!;
    expect(network.known(before.index)).toEqual(before);
    ip('link', 'set', 'br0', 'alias', 'changed');
    await expect.poll(() => network.known('br0')?.alias).toBe('changed');
    expect(heard).toBeGreaterThan(0);
    expect(network.known('br0')!.revision).toBeGreaterThan(before.revision);
    const others = network.list().map(({ index }) => network.known(index)?.revision);
    expect(new Set(others).size).toBe(others.length);
    following[Symbol.dispose]();
    expect(network.known('br0')).toBeUndefined();
  });

  it('carry a tap: set up, followed, mended and removed by messages alone', async () => {
    const heard: (string | undefined)[] = [];
    const options = { name: 'vif7.0', bridge: 'br0', mac: MAC, mtu: 9000, up: true, alias: 'vifd vif7.0' };
    const expects = async () => 'bridged' as const;
    const port = tap({ ...options, persist: true, memory: {}, expects }, network);
    ports.push(port);
    port.setCarrier?.(true);
    const listen = (trouble: PortTrouble | undefined) => heard.push(trouble?.error.message);
    using _following = port.follow?.(listen);
    expect(interfaces().find('vif7.0')).toMatchObject({
      mac: MAC,
      mtu: 9000,
      up: true,
      alias: 'vifd vif7.0',
    });
    ip('link', 'set', 'vif7.0', 'down');
    await expect.poll(() => heard.at(-1)).toMatch(/^vif7\.0 was set down/);
    ip('link', 'set', 'vif7.0', 'up');
    await expect.poll(() => heard.at(-1)).toBeUndefined();
    ip('link', 'set', 'vif7.0', 'nomaster');
    await expect.poll(() => heard.at(-1)).toMatch(/^vif7\.0 was taken out of br0/);
    ip('link', 'set', 'vif7.0', 'master', 'br0');
    await expect.poll(() => heard.at(-1)).toBeUndefined();
    expect(port.dropped).toBe(0);
    await port.remove?.();
    expect(interfaces().find('vif7.0')).toBeUndefined();
    expect(new Set(network.calls)).toEqual(new Set(['find', 'change', 'dropped', 'follow', 'remove']));
  });
}

if (existsSync('dist/host/netlink-interfaces.js'))
  withTaps(import.meta.url, () => describe('interfaces that another thread serves', runTests));
else it.skip('interfaces that another thread serves need dist/: npm run build', () => {});
