import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { interfaces } from '../../lib/host/netlink-interfaces.js';
import { isLimited } from '../tap-network.js';
import { GUEST_MAC, type LinksWorld, NODE, SOON, START_MS, withLinks } from './links-world.js';

function tests(world: LinksWorld): void {
  const { vifd, connect, newVif, reaches, reason, link, ip, bridged } = world;

  it('makes a tap that was deleted anew, with its settings, and serves on', async () => {
    await newVif();
    const daemon = vifd(['--bridge', 'br0']);
    await connect();
    expect(await reaches()).toBe(true);
    ip('link', 'set', 'vif7.0', 'mtu', '1400');
    execFileSync('bridge', ['link', 'set', 'dev', 'vif7.0', 'isolated', 'on']);
    await sleep(600);
    const before = link('vif7.0');
    expect(before).toMatchObject({ bridge: 'br0', mtu: 1400, port: { isolated: '1' } });
    for (let times = 1; times <= 2; times++) {
      ip('link', 'delete', 'vif7.0');
      await expect
        .poll(() => daemon.messages('error').at(-1), SOON)
        .toMatch(/^Tap vif7\.0 was deleted, not by vifd/);
      expect(await daemon.until('attached', times + 1)).toMatchObject({ resumed: true });
      expect(link('vif7.0')).toEqual(before);
      expect(await reaches()).toBe(true);
    }
    await expect.poll(() => daemon.messages('mended').at(-1), SOON).toMatch(/was deleted/);
    // The message of a fault that the data path finds first has the errno's name too.
    expect(daemon.messages('error').filter((message) => /system error/.test(`${message}`))).toEqual([]);
  });

  it('finds a tap that the hotplug script renamed again after a kill, and removes that with the vif', async () => {
    await newVif({ script: '/etc/xen/scripts/vif-bridge', bridge: 'br0' });
    await world.store.write(`${NODE}/vifname`, 'web0');
    const first = vifd();
    await expect.poll(() => world.store.read(`${NODE}/state`), { timeout: START_MS }).toBe('2');
    for (const words of ['vif7.0 down', 'vif7.0 name web0', 'web0 master br0 up'])
      ip('link', 'set', ...words.split(' '));
    await world.store.write(`${NODE}/hotplug-status`, 'connected');
    await connect();
    expect(await reaches()).toBe(true);
    expect(first.messages('error')).toEqual([]);
    await first.end('SIGKILL');
    // vifd does not replace an administrator's alias: it then recognises the interface by the name that the toolstack wrote.
    ip('link', 'set', 'web0', 'alias', 'the web server');
    const second = vifd();
    expect(await second.until('attached')).toMatchObject({ resumed: true });
    expect(await reaches()).toBe(true);
    expect(link('vif7.0')).toBeUndefined();
    expect(interfaces().find('web0')?.alias).toBe('the web server');
    await second.end('SIGKILL');
    ip('link', 'set', 'web0', 'alias', 'vifd vif7.0');
    // Finds it by any name that it has now.
    ip('link', 'set', 'web0', 'down');
    ip('link', 'set', 'web0', 'name', 'web1');
    ip('link', 'set', 'web1', 'up');
    const third = vifd();
    await third.until('attached');
    expect(await reaches()).toBe(true);
    await third.end('SIGKILL');
    // The vif is removed while no vifd runs.
    await world.store.rm(NODE);
    await vifd().until('ready');
    const taps = () =>
      interfaces()
        .list()
        .filter(({ kind, name }) => kind === 'tun' && name !== 'eth0');
    await expect.poll(taps, SOON).toEqual([]);
  });

  it('removes the tap of a vif whose removal began before a kill, or while no vifd ran', async () => {
    await newVif();
    const first = vifd(['--bridge', 'br0']);
    await connect();
    await first.end('SIGKILL');
    // libxl asks in this way, and then waits for Closed.
    await world.store.write(`${NODE}/online`, '0');
    await world.store.write(`${NODE}/state`, '5');
    vifd();
    await expect.poll(() => world.store.read(`${NODE}/state`), { timeout: START_MS }).toBe('6');
    expect(link('vif7.0')).toBeUndefined();
  });

  it.each(['1', '2'])(
    'serves a vif that another vifd had, as soon as that ends, queues: %s',
    async (queues) => {
      await newVif();
      const args = ['--bridge', 'br0', '--queues', queues];
      const first = vifd(args);
      await connect();
      const second = vifd(args, 'j2');
      await second.until('ready');
      expect(second.messages('error')).toEqual([
        expect.stringMatching(/vif7\.0.*EBUSY.*another process has it open/),
      ]);
      await expect.poll(() => reason('j2'), SOON).toMatch(/EBUSY/);
      expect(await reaches()).toBe(true);
      await first.end('SIGKILL');
      await second.until('attached');
      expect(await reaches()).toBe(true);
      await second.until('mended');
      expect(second.messages('error')).toHaveLength(1);
      rmSync(join(world.directory, 'j2'), { recursive: true });
    },
  );

  it('reports an interface that is set down, taken out of its bridge, or whose bridge is deleted', async () => {
    await newVif();
    const daemon = vifd(['--bridge', 'br0']);
    await connect();
    const cases = [
      ['vif7.0 down', /^vif7\.0 was set down/, () => ip('link', 'set', 'vif7.0', 'up')],
      [
        'vif7.0 nomaster',
        /^vif7\.0 was taken out of br0/,
        () => ip('link', 'set', 'vif7.0', 'master', 'br0'),
      ],
    ] as const;
    for (const [words, message, mend] of cases) {
      ip('link', 'set', ...words.split(' '));
      await expect.poll(() => daemon.messages('error').at(-1), SOON).toMatch(message);
      await expect.poll(() => reason(), SOON).toMatch(message);
      mend();
      await expect.poll(() => daemon.messages('mended').at(-1), SOON).toMatch(message);
      expect(await reaches()).toBe(true);
    }
    ip('link', 'delete', 'br0');
    await expect
      .poll(() => daemon.messages('error').at(-1), SOON)
      .toMatch(/^br0, the bridge of vif7\.0, was deleted/);
    bridged('br0');
    ip('address', 'add', '10.7.0.1/24', 'dev', 'br0');
    ip('neighbour', 'add', '10.7.0.2', 'lladdr', GUEST_MAC, 'dev', 'br0', 'nud', 'permanent');
    await expect.poll(() => link('vif7.0')?.bridge, SOON).toBe('br0');
    expect(await reaches()).toBe(true);
    expect(daemon.lines.filter(({ event }) => event === 'detached')).toEqual([]);
  });

  it("joins the store's bridge where neither --bridge nor a script names another", async () => {
    await newVif({ bridge: 'br0' });
    const daemon = vifd();
    await connect();
    expect(link('vif7.0')?.bridge).toBe('br0');
    expect(await reaches()).toBe(true);
    expect(daemon.messages('error')).toEqual([]);
  });

  it('reports a tap that is in no bridge, until it is', async () => {
    await newVif();
    const daemon = vifd();
    await connect();
    await expect
      .poll(() => daemon.messages('error'), SOON)
      .toEqual([expect.stringMatching(/^vif7\.0 is in no bridge/)]);
    ip('link', 'set', 'vif7.0', 'master', 'br0');
    await daemon.until('mended');
    expect(await reaches()).toBe(true);
  });

  it('leaves a tap that a routing script set up in no bridge', async () => {
    await newVif({ script: '/etc/xen/scripts/vif-route', bridge: 'br0' });
    const first = vifd();
    await expect.poll(() => world.store.read(`${NODE}/state`), { timeout: START_MS }).toBe('2');
    await world.store.write(`${NODE}/hotplug-status`, 'connected');
    await connect();
    await first.end('SIGKILL');
    const second = vifd();
    await second.until('attached');
    await sleep(600);
    expect([...first.messages('error'), ...second.messages('error')]).toEqual([]);
    expect(link('vif7.0')).toMatchObject({ up: true });
    expect(link('vif7.0')).not.toHaveProperty('bridge');
    await second.end('SIGTERM');
    // vifd also notices changes that were made while it did not run.
    ip('link', 'set', 'vif7.0', 'down');
    const third = vifd();
    await expect
      .poll(() => third.messages('error'), SOON)
      .toEqual([expect.stringMatching(/^vif7\.0 is down/)]);
  });

  it('waits for a bridge that is not there, and for a name that is taken', async () => {
    await newVif({ bridge: 'br7' });
    ip('link', 'add', 'vif7.0', 'type', 'veth', 'peer', 'name', 'peer0');
    const daemon = vifd();
    await expect
      .poll(() => daemon.messages('error').at(-1), SOON)
      .toMatch(/vif7\.0.*EINVAL.*rename that one/);
    ip('link', 'delete', 'vif7.0');
    await expect
      .poll(() => daemon.messages('error').at(-1), SOON)
      .toMatch(/vif7\.0.*br7.*ENODEV.*ip link add br7/);
    expect(reason()).toMatch(/br7/);
    bridged('br7');
    await daemon.until('mended');
    await connect();
    expect(link('vif7.0')?.bridge).toBe('br7');
  });

  it('waits for a free descriptor', async () => {
    const daemon = vifd(['--workers', '0']);
    await daemon.until('ready');
    const { pid } = daemon.process;
    const open = readdirSync(`/proc/${pid}/fd`).map(Number);
    const limit = (soft: number) => execFileSync('prlimit', ['--pid', `${pid}`, `--nofile=${soft}:`]);
    // The limit is the number of open descriptors, so the next one is refused.
    const free = Array.from({ length: Math.max(...open) }, (_, fd) => fd).find((fd) => !open.includes(fd));
    limit(free ?? Math.max(...open) + 1);
    await newVif({ bridge: 'br0' });
    await expect.poll(() => daemon.messages('error').at(-1), SOON).toMatch(/vif7\.0.*EMFILE.*descriptor/);
    await expect.poll(() => daemon.messages('error').length, SOON).toBe(1);
    limit(1024);
    await daemon.until('mended');
    await connect();
    expect(await reaches()).toBe(true);
  });

  it.each([
    ['net_admin,+bpf', 0],
    // Queues are short then, which is reported once.
    ['net_admin', 1],
  ])(
    'sets an adopted tap up with CAP_%s alone, as 0.1 noted it, with /sys read-only and no program',
    async (capabilities, refusals) => {
      const keep =
        '{"bridge":"br0","mac":"fe:ff:ff:00:00:07","mtu":9000,"up":true,"port":{"isolated":"1","learning":"1",' +
        '"unicast_flood":"1","multicast_flood":"0","broadcast_flood":"1","hairpin_mode":"0","bpdu_guard":"0","root_block":"0"}}';
      await newVif();
      await world.store.write(`${NODE}/vifd/owner`, 'vifd');
      await world.store.write(`${NODE}/vifd/keep`, keep);
      expect(() => writeFileSync('/sys/class/net/lo/flags', '0x9')).toThrow(/EROFS/);
      const path = world.env.PATH;
      world.env.PATH = '/nowhere';
      const rights = ['--bounding-set', `-all,+${capabilities}`, '--no-new-privs'];
      const daemon = vifd([], 'j', ['/usr/bin/setpriv', ...rights]);
      await daemon.until('ready');
      world.env.PATH = path ?? process.env.PATH;
      const limited = daemon.lines.filter(({ code }) => code === 'ERR_TAP_LIMIT');
      expect(limited).toHaveLength(isLimited() ? refusals : 1);
      expect(interfaces().find('vif7.0')?.queueFrames).toBe(limited.length > 0 ? 60 : 2048);
      expect(daemon.messages('error')).toEqual([]);
      expect(link('vif7.0')).toEqual(JSON.parse(keep));
    },
  );

  it('steers no tap to other processors: their backlog loses frames that have a response', async () => {
    await newVif({ bridge: 'br0' });
    vifd();
    await connect();
    const mask = readFileSync('/sys/class/net/vif7.0/queues/rx-0/rps_cpus', 'utf8');
    expect(mask).toMatch(/^[0,\s]+$/);
  });
}
withLinks(import.meta.url, "vifd run and its host's interfaces", tests);
