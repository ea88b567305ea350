import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { HostLinks, type LinkSettings, settingsOf } from '../../lib/host/links.js';
import { interfaces } from '../../lib/host/netlink-interfaces.js';
import { aliasFor, findTap } from '../../lib/host/vif-taps.js';
import { whyNoAddon } from '../native/reason.js';
import { inOwnNetwork } from '../own-network.js';

const MAC = 'fe:ff:ff:ff:ff:ff';
const ip = (...args: string[]) => execFileSync('ip', args, { encoding: 'utf8' });
const links = new HostLinks();

/** As `vifd/keep` in the store has it, since 0.1: the flags of the port by their names in sysfs. */
const KEPT: LinkSettings = JSON.parse(
  `{"bridge":"xenbr0","mac":"${MAC}","mtu":9000,"up":true,"port":{"isolated":"1","learning":"0","unicast_flood":"1",` +
    '"multicast_flood":"1","broadcast_flood":"0","hairpin_mode":"1","bpdu_guard":"1","root_block":"0"}}',
);

function runTests(): void {
  beforeAll(() => {
    for (const which of ['default', 'all'])
      writeFileSync(`/proc/sys/net/ipv6/conf/${which}/disable_ipv6`, '1');
    // As with the unit's ProtectKernelTunables, and without any program in PATH.
    execFileSync('mount', ['-o', 'remount,bind,ro', '/sys']);
    ip('link', 'add', 'xenbr0', 'type', 'bridge');
    ip('link', 'set', 'xenbr0', 'up');
  });
  afterEach(() => {
    for (const { index, kind } of interfaces().list()) if (kind === 'tun') interfaces().remove(index);
  });
  const make = (name = 'vif7.0') => void ip('tuntap', 'add', name, 'mode', 'tap');
  const sys = (file: string) => readFileSync(`/sys/class/net/${file}`, 'utf8').trim();

  it('is read: bridge, flags of its port, address, MTU, and whether it is up', () => {
    make();
    ip('link', 'set', 'vif7.0', 'master', 'xenbr0', 'address', MAC, 'mtu', '9000', 'up');
    execFileSync('bridge', ['link', 'set', 'dev', 'vif7.0', 'isolated', 'on', 'learning', 'off']);
    const { port, ...rest } = links.read('vif7.0');
    expect(rest).toEqual({ bridge: 'xenbr0', mac: MAC, mtu: 9000, up: true });
    expect(port).toMatchObject({ isolated: '1', learning: '0', unicast_flood: '1', hairpin_mode: '0' });
  });

  it('is read of one that is in no bridge, and down', () => {
    make();
    ip('link', 'set', 'vif7.0', 'address', MAC);
    expect(links.read('vif7.0')).toEqual({ mac: MAC, mtu: 1500, up: false, port: {} });
  });

  it('is not what vifd can keep in something that is no Linux bridge', () => {
    make();
    const inside = { ...interfaces().find('vif7.0')!, master: 1, masterKind: 'openvswitch' };
    expect(() => settingsOf(interfaces(), inside)).toThrow(/vif7\.0 is in lo, which is not a Linux bridge/);
    expect(() => links.read('vif8.0')).toThrow(/There is no interface vif8\.0/);
  });

  it('is written where /sys cannot be, by the record that 0.1 left in the store, and is left as it is then', () => {
    expect(() => writeFileSync('/sys/class/net/lo/flags', '0x9')).toThrow(/EROFS/);
    make();
    links.apply('vif7.0', KEPT);
    expect(links.read('vif7.0')).toEqual(KEPT);
    expect(Object.keys(KEPT.port).map((flag) => sys(`vif7.0/brport/${flag}`))).toEqual(
      Object.values(KEPT.port),
    );
    links.apply('vif7.0', KEPT);
    expect(links.read('vif7.0')).toEqual(KEPT);
  });

  it('may have a flag noted that this kernel has not', () => {
    make();
    links.apply('vif7.0', { ...KEPT, port: { ...KEPT.port, not_yet_invented: '1' } });
    expect(links.read('vif7.0')).toEqual(KEPT);
  });

  it('takes an interface down, and gives it another name', () => {
    make();
    ip('link', 'set', 'vif7.0', 'up');
    links.apply('vif7.0', { name: 'web0', mac: MAC, mtu: 1500, up: false, port: {} });
    expect(links.read('web0')).toMatchObject({ mac: MAC, up: false });
    expect(links.exists('vif7.0')).toBe(false);
  });

  it.each([
    ['a bridge that is not there', { bridge: 'xenbr9' }, /joining bridge xenbr9 failed .*ip link add xenbr9/],
    ['a bridge that is none', { bridge: 'lo' }, /joining bridge lo failed .*not a Linux bridge/],
    ['an MTU that it cannot have', { mtu: 12 }, /MTU 12 failed \(EINVAL.*less than/],
    ['flags of a port that it has not', { port: { isolated: '1' } }, /in no Linux bridge/],
  ])('says which step failed, and why: %s', (_what, wrong, message) => {
    make();
    const settings = { mac: MAC, mtu: 1500, up: true, port: {}, ...wrong };
    expect(() => links.apply('vif7.0', settings)).toThrow(
      expect.objectContaining({ code: 'ERR_LINK', message: expect.stringMatching(message) }),
    );
  });

  it('is looked up by index: a name that went to another interface meanwhile does not count', () => {
    make();
    const { index } = interfaces().find('vif7.0')!;
    ip('link', 'set', 'vif7.0', 'name', 'web0');
    make();
    interfaces().change(index, { mtu: 1400 });
    expect([links.read('web0').mtu, links.read('vif7.0').mtu]).toEqual([1400, 1500]);
    interfaces().remove(index);
    expect(interfaces().remove(index)).toMatchObject({ errno: 'ENODEV' });
    expect([links.exists('web0'), links.exists('vif7.0')]).toEqual([false, true]);
  });

  it('reads more interfaces than fit into one message of the kernel', () => {
    const names = Array.from({ length: 100 }, (_, i) => `d${i}`);
    execFileSync('ip', ['-batch', '-'], {
      input: names.map((name) => `link add ${name} type veth peer name p${name}\n`).join(''),
    });
    const found = interfaces()
      .list()
      .map(({ name }) => name);
    expect(names.filter((name) => !found.includes(name))).toEqual([]);
    for (const name of names) interfaces().remove(interfaces().find(name)!.index);
  });

  it('leaves a vif its tap: by its alias, the name of the toolstack, or its own', () => {
    make('web0');
    ip('link', 'set', 'web0', 'alias', aliasFor('vif7.0'));
    make('vif7.0');
    expect(findTap(interfaces(), 'vif7.0')?.name).toBe('web0');
    expect(findTap(interfaces(), 'vif8.0')).toBeUndefined();
    ip('link', 'set', 'web0', 'alias', 'the web server');
    expect(findTap(interfaces(), 'vif7.0')?.name).toBe('vif7.0');
    expect(findTap(interfaces(), 'vif7.0', 'web0')?.name).toBe('web0');
    ip('link', 'set', 'web0', 'alias', aliasFor('vif8.0'));
    expect(findTap(interfaces(), 'vif7.0', 'web0')?.name).toBe('vif7.0');
    ip('link', 'set', 'vif7.0', 'alias', aliasFor('vif8.1'));
    expect(findTap(interfaces(), 'vif7.0', 'a name that no interface can have')).toBeUndefined();
    expect(findTap(interfaces(), 'lo', 'xenbr0')).toBeUndefined();
  });
}

if (whyNoAddon()) it.skip(`interfaces need the addon: ${whyNoAddon()}`, () => {});
else if (!existsSync('/sys/class/net')) it.skip('interfaces need Linux', () => {});
else inOwnNetwork(import.meta.url, () => describe('how an interface is set up', runTests));
