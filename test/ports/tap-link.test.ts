import { execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type LinkSettings, settingsOf } from '../../lib/host/links.js';
import { interfaces } from '../../lib/host/netlink-interfaces.js';
import type { Port, PortTrouble } from '../../lib/ports/port.js';
import { tap } from '../../lib/ports/tap.js';
import type { TapMemory } from '../../lib/ports/tap-link.js';
import type { TapOptions } from '../../lib/ports/tap-options.js';
import { EVERYTHING, openEnd, plainFrame, send, statusOf } from '../../worlds/port-end.js';
import { arena, ip, makeTap, withTaps } from '../tap-network.js';

/** Longer than vifd waits when interfaces change (lib/ports/tap-link.ts). */
const SETTLED_MS = 600;

interface Followed {
  readonly port: Port;
  /** The message of the fault; '' when it is over. */
  readonly heard: string[];
  readonly last: () => PortTrouble | undefined;
}

function tests(): void {
  const following: Disposable[] = [];
  beforeEach(() => {
    ip('link', 'add', 'br1', 'type', 'bridge');
    ip('link', 'set', 'br1', 'up');
  });
  afterEach(() => {
    for (const one of following.splice(0)) one[Symbol.dispose]();
    for (const { index, name, kind } of interfaces().list())
      if (kind === 'tun' || name === 'br1') interfaces().remove(index);
  });

  const unbridged: TapOptions = { name: 'vif7.0', persist: true, ifMade: { up: true } };
  const bridged: TapOptions = { ...unbridged, bridgeIfNone: 'br1' };
  function follow(more: Partial<TapOptions> = {}, options = bridged): Followed {
    const port = makeTap({ ...options, ...more });
    // As with a guest that is connected.
    port.setCarrier!(true);
    const heard: string[] = [];
    let last: PortTrouble | undefined;
    following.push(
      port.follow!((trouble) => {
        last = trouble;
        heard.push(trouble?.error.message ?? '');
      }),
    );
    return { port, heard, last: () => last };
  }
  const mended = (heard: string[]) => expect.poll(() => heard.at(-1)).toBe('');

  it('reports once that nothing is wrong', async () => {
    const { heard } = follow();
    expect(heard).toEqual([]);
    ip('link', 'set', 'vif7.0', 'mtu', '1400');
    await sleep(SETTLED_MS);
    expect(heard).toEqual([]);
  });

  it('has its address again when systemd-udevd gives the new device another one, and leaves later changes alone', async () => {
    const mac = 'fe:ff:ff:ff:ff:ff';
    const { heard } = follow({ mac });
    const address = () => interfaces().find('vif7.0')?.mac;
    expect(address()).toBe(mac);
    ip('link', 'set', 'vif7.0', 'address', '52:82:1b:40:b2:df');
    await expect.poll(address).toBe(mac);
    ip('link', 'set', 'vif7.0', 'address', '52:82:1b:40:b2:e0');
    await sleep(SETTLED_MS);
    expect(address()).toBe('52:82:1b:40:b2:e0');
    expect(heard).toEqual([]);
  });

  it('keeps the address that a hotplug script gives it', async () => {
    follow({ ifMade: { up: true, mac: 'fe:ff:ff:ff:ff:ff' } });
    ip('link', 'set', 'vif7.0', 'address', '52:82:1b:40:b2:df');
    await sleep(SETTLED_MS);
    expect(interfaces().find('vif7.0')?.mac).toBe('52:82:1b:40:b2:df');
  });

  it('reports nothing of what a hotplug script does to one that was up, and reports what it has left wrong', async () => {
    let expected: 'script' | 'bridged' = 'script';
    const { heard } = follow({ expects: async () => expected });
    ip('link', 'set', 'vif7.0', 'down');
    await sleep(SETTLED_MS);
    expect(heard.filter((text) => text !== '')).toEqual([]);
    // No message of the interface comes with the script's end.
    expected = 'bridged';
    await expect.poll(() => heard.at(-1), { timeout: 3000 }).toMatch(/^vif7\.0 was set down/);
  });

  it('reports that it was set down, and that it is up again', async () => {
    const { heard, last } = follow();
    ip('link', 'set', 'vif7.0', 'down');
    await expect
      .poll(() => heard)
      .toEqual([expect.stringMatching(/^vif7\.0 was set down.*ip link set vif7\.0 up/)]);
    expect(last()).toMatchObject({ lost: false, error: { code: 'ERR_LINK' } });
    ip('link', 'set', 'vif7.0', 'up');
    await mended(heard);
    expect(heard).toHaveLength(2);
  });

  it('reports that another process switched its carrier off, and not what vifd itself does to it', async () => {
    const { port, heard } = follow();
    port.setCarrier!(true);
    port.setCarrier!(false);
    ip('link', 'set', 'vif7.0', 'mtu', '1400');
    await sleep(SETTLED_MS);
    port.setCarrier!(true);
    await sleep(SETTLED_MS);
    expect(heard).toEqual([]);
    ip('link', 'set', 'vif7.0', 'carrier', 'off');
    // The kernel reports carriers once a second.
    await expect
      .poll(() => heard, { timeout: 3000 })
      .toEqual([expect.stringMatching(/^The carrier of vif7\.0.*ip link set vif7\.0 carrier on/)]);
    ip('link', 'set', 'vif7.0', 'carrier', 'on');
    await expect.poll(() => heard.at(-1), { timeout: 3000 }).toBe('');
  });

  it('reports that its bridge port was disabled, and not what a spanning tree makes of it', async () => {
    const { heard } = follow();
    await expect.poll(() => interfaces().find('vif7.0')?.portState, { timeout: 3000 }).toBe(3);
    const state = (name: string) => execFileSync('bridge', ['link', 'set', 'dev', 'vif7.0', 'state', name]);
    for (const spanningTree of ['1', '2', '4']) state(spanningTree);
    await sleep(SETTLED_MS);
    expect(heard).toEqual([]);
    state('0');
    await expect
      .poll(() => heard)
      .toEqual([expect.stringMatching(/^The port of vif7\.0 in br1.*bridge link set dev vif7\.0 state 3/)]);
    state('3');
    await mended(heard);
  });

  it.each([['br1'], ['br0']])(
    'reports that it was taken out of its bridge, and mends in %s',
    async (bridge) => {
      const { heard } = follow();
      ip('link', 'set', 'vif7.0', 'nomaster');
      await expect
        .poll(() => heard)
        .toEqual([expect.stringMatching(/^vif7\.0 was taken out of br1: .*master br1/)]);
      // An administrator took it out: it stays out until one puts it back.
      await sleep(SETTLED_MS);
      expect(interfaces().find('vif7.0')?.master).toBe(0);
      ip('link', 'set', 'vif7.0', 'master', bridge);
      await mended(heard);
    },
  );

  it('reports that its bridge is down', async () => {
    const { heard } = follow();
    ip('link', 'set', 'br1', 'down');
    await expect.poll(() => heard).toEqual([expect.stringMatching(/^br1, the bridge of vif7\.0, is down/)]);
    ip('link', 'set', 'br1', 'up');
    await mended(heard);
  });

  it('reports that its bridge was deleted, and joins it, with its flags, when it is made again', async () => {
    const { heard } = follow();
    execFileSync('bridge', ['link', 'set', 'dev', 'vif7.0', 'isolated', 'on', 'learning', 'off']);
    await sleep(SETTLED_MS);
    ip('link', 'delete', 'br1');
    await expect
      .poll(() => heard.at(-1))
      .toMatch(/^br1, the bridge of vif7\.0, was deleted: `ip link add br1/);
    ip('link', 'add', 'br1', 'type', 'bridge');
    ip('link', 'set', 'br1', 'up');
    await mended(heard);
    expect(settingsOf(interfaces(), interfaces().find('vif7.0')!)).toMatchObject({
      bridge: 'br1',
      port: { isolated: '1', learning: '0' },
    });
  });

  it('reports nothing of what a hotplug script does: down, another name, into a bridge, up', async () => {
    const { heard, port } = follow({}, unbridged);
    ip('link', 'set', 'vif7.0', 'down');
    ip('link', 'set', 'vif7.0', 'name', 'web0');
    ip('link', 'set', 'web0', 'master', 'br1', 'up');
    await sleep(SETTLED_MS);
    expect(heard).toEqual([]);
    expect(port.name).toBe('web0');
    ip('link', 'set', 'web0', 'down');
    await expect.poll(() => heard).toEqual([expect.stringContaining('web0 was set down')]);
  });

  it.each([
    ['nothing', undefined],
    ['script', undefined],
    ['up', /^vif7\.0 is down/],
    ['bridged', /^vif7\.0 is down/],
  ] as const)('may never have been up, where it is expected to be: %s', async (expected, message) => {
    const { heard } = follow({ ifMade: {}, expects: async () => expected });
    await sleep(SETTLED_MS);
    expect(heard.filter((text) => text !== '')).toEqual(
      message === undefined ? [] : [expect.stringMatching(message)],
    );
    ip('link', 'set', 'vif7.0', 'up');
    if (message !== undefined) await mended(heard);
  });

  it.each([
    ['is to the hotplug script until that has run', Promise.resolve('script' as const), 0],
    ['is reported though the store, which knows of the script, is away', new Promise<never>(() => {}), 1],
  ])('being taken down %s', async (_what, expected, count) => {
    const { heard } = follow({ expects: () => expected });
    ip('link', 'set', 'vif7.0', 'down');
    await sleep(2 * SETTLED_MS);
    expect(heard.filter((text) => text !== '')).toHaveLength(count);
  });

  it('being taken down by the script is reported once at most where the store responds late', async () => {
    const late = () => sleep(500).then(() => 'script' as const);
    const { heard } = follow({ expects: late });
    ip('link', 'set', 'vif7.0', 'down');
    await sleep(4000);
    expect(heard.filter((text) => text !== '').length).toBeLessThan(2);
  });

  it('reports a script that does not end, though nothing is wrong with the interface, and its end', async () => {
    vi.useFakeTimers();
    try {
      let expected: 'script' | 'up' = 'script';
      const { heard } = follow({ expects: async () => expected }, unbridged);
      await vi.advanceTimersByTimeAsync(40_000);
      expect(heard).toEqual([]);
      await vi.advanceTimersByTimeAsync(7000);
      expect(heard).toEqual([
        expect.stringMatching(/script of vif7\.0 has not ended within 45 s.*`xl devd` runs/),
      ]);
      expected = 'up';
      await vi.advanceTimersByTimeAsync(2000);
      expect(heard).toHaveLength(2);
      expect(heard.at(-1)).toBe('');
    } finally {
      vi.useRealTimers();
    }
  });

  it('reports that it is in no bridge where it should be, until it is', async () => {
    const { heard } = follow({ expects: async () => 'bridged' }, unbridged);
    await expect.poll(() => heard).toEqual([expect.stringMatching(/^vif7\.0 is in no bridge.*--bridge/)]);
    ip('link', 'set', 'vif7.0', 'mtu', '1400');
    await sleep(SETTLED_MS);
    expect(heard).toHaveLength(1);
    ip('link', 'set', 'vif7.0', 'master', 'br1');
    await mended(heard);
  });

  it('is lost when its device is deleted, and made anew as it was: settings, bridge, flags, alias, name', async () => {
    const memory: TapMemory = {};
    const closed: number[] = [];
    const { heard, last, port } = follow({
      memory,
      alias: 'vifd vif7.0',
      onClosed: (queue) => closed.push(queue),
    });
    ip('link', 'set', 'vif7.0', 'down');
    ip(
      'link',
      'set',
      'vif7.0',
      'name',
      'web0',
      'mtu',
      '9000',
      'address',
      'fe:ff:ff:00:00:07',
      'alias',
      'the web',
    );
    ip('link', 'set', 'web0', 'up');
    execFileSync('bridge', ['link', 'set', 'dev', 'web0', 'isolated', 'on', 'hairpin', 'on']);
    await sleep(SETTLED_MS);
    const before: LinkSettings = settingsOf(interfaces(), interfaces().find('web0')!);
    ip('link', 'delete', 'web0');
    await expect.poll(() => last()?.lost).toBe(true);
    expect(heard).toEqual([expect.stringMatching(/^Tap .* was deleted, not by vifd/)]);
    expect(last()?.error.code).toBe('ERR_TAP');
    // The service manager's descriptor of the tap is of no use then.
    expect(closed).toEqual([0]);
    await port[Symbol.asyncDispose]();
    const again = follow({ memory, name: memory.settings!.name, alias: 'vifd vif7.0' });
    const link = interfaces().find('web0')!;
    expect(settingsOf(interfaces(), link)).toEqual(before);
    expect(link.alias).toBe('the web');
    expect(again.heard).toEqual([]);
  });

  it('still has its faults when it is made anew: what an administrator has closed stays closed', async () => {
    const memory: TapMemory = {};
    const first = follow({ memory });
    ip('link', 'set', 'vif7.0', 'down');
    await expect.poll(() => first.heard).toHaveLength(1);
    ip('link', 'delete', 'vif7.0');
    await expect.poll(() => first.last()?.lost).toBe(true);
    await first.port[Symbol.asyncDispose]();
    const second = follow({ memory });
    expect(second.heard).toEqual([expect.stringContaining('was set down')]);
    expect(interfaces().find('vif7.0')?.up).toBe(false);
  });

  it('is lost at once where it was deleted before it was followed', async () => {
    const port = makeTap(bridged);
    ip('link', 'delete', 'vif7.0');
    const heard: (PortTrouble | undefined)[] = [];
    following.push(port.follow!((trouble) => heard.push(trouble)));
    expect(heard).toMatchObject([{ lost: true, error: { errno: 'EBADFD' } }]);
  });

  it('is not lost in another network namespace: frames pass, no further queue is made here, and it can be removed', async () => {
    const { heard, port } = follow({ multiQueue: true });
    const end = openEnd(port, arena, { ...EVERYTHING, queue: { index: 0, count: 2 } });
    const other = spawn('unshare', ['-n', 'sleep', '60']);
    const there = (...args: string[]) =>
      execFileSync('nsenter', ['-t', `${other.pid}`, '-n', ...args]).toString();
    await expect
      .poll(() => there('readlink', '/proc/self/ns/net'))
      .not.toBe(execFileSync('readlink', ['/proc/self/ns/net']).toString());
    ip('link', 'set', 'vif7.0', 'netns', `${other.pid}`);
    there('ip', 'link', 'set', 'vif7.0', 'up');
    await sleep(SETTLED_MS);
    expect(heard.filter((text) => text !== '')).toEqual([]);
    expect(send(end, [{ frame: plainFrame(60, 1) }])).toBe(1);
    expect(statusOf(end, 0)).toBe(0);
    expect(() => openEnd(port, arena, { ...EVERYTHING, queue: { index: 1, count: 2 } })).toThrow(/ENODEV/);
    expect(interfaces().find('vif7.0')).toBeUndefined();
    await port.remove?.();
    await expect.poll(() => there('ip', '-o', 'link')).not.toContain('vif7.0');
    other.kill();
  });

  it('knows what became of its interface when so much changed that messages were lost', async () => {
    const { heard } = follow();
    const changes = Array.from({ length: 6000 }, (_, i) => `link set br0 alias ${'x'.repeat(200)}${i}\n`);
    // While this runs nothing reads the messages.
    execFileSync('ip', ['-batch', '-'], { input: `link set vif7.0 down\n${changes.join('')}` });
    await expect.poll(() => heard).toEqual([expect.stringContaining('was set down')]);
    execFileSync('ip', ['-batch', '-'], { input: `${changes.join('')}link set vif7.0 up\n` });
    await mended(heard);
  });

  it('reports which interface has its name', () => {
    ip('link', 'add', 'vif9.0', 'type', 'veth', 'peer', 'name', 'peer0');
    expect(() => tap({ name: 'vif9.0' })).toThrow(
      expect.objectContaining({
        code: 'ERR_TAP',
        errno: 'EINVAL',
        message: expect.stringMatching(/vif9\.0.*rename/),
      }),
    );
    ip('link', 'delete', 'vif9.0');
  });

  it('is steered to no other processor', () => {
    follow({ multiQueue: true });
    expect(readFileSync('/sys/class/net/vif7.0/queues/rx-0/rps_cpus', 'utf8')).toMatch(/^[0,\s]*$/);
  });
}

withTaps(import.meta.url, () => {
  describe('a tap whose interface is followed', tests);
});
