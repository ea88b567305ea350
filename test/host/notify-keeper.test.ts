import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addon } from '../../lib/addon.js';
import { LocalKeeper } from '../../lib/host/local-keeper.js';
import { inheriting, NotifyKeeper } from '../../lib/host/notify-keeper.js';
import { NotifySocket } from '../../lib/host/notify-socket.js';
import { ServiceManager } from '../../lib/host/service-manager.js';
import { SystemdKeeper } from '../../lib/host/systemd-keeper.js';
import { systemClock } from '../../lib/xen/native/clock.js';
import { whyNoAddon } from '../native/reason.js';
import { inodeOf, openCount, withOpen } from './descriptors.js';

const rethrow = (error: Error) => {
  throw error;
};
const dist = (file: string) => new URL(`../../dist/${file}`, import.meta.url).href;

describe.skipIf(whyNoAddon())('a process that keeps descriptors for others', () => {
  let directory: string;
  let path: string;
  let kept: LocalKeeper;
  let before: number;
  const errors: string[] = [];
  const heard: string[] = [];
  const listen = () =>
    new NotifyKeeper(path, {
      kept,
      onAssignments: (assignments) => heard.push([...assignments].map((pair) => pair.join('=')).join(';')),
      onError: ({ code, message }) => errors.push(`${code} ${message}`),
    });
  beforeEach(() => {
    before = openCount();
    directory = mkdtempSync(join(tmpdir(), 'vifd-keeper-'));
    path = join(directory, 'notify');
    kept = new LocalKeeper(rethrow);
    errors.length = 0;
    heard.length = 0;
  });
  afterEach(() => {
    kept[Symbol.dispose]();
    rmSync(directory, { recursive: true });
    expect(openCount()).toBe(before);
  });
  const notify = () =>
    NotifySocket.find({ clock: systemClock, onError: rethrow, onMended: rethrow }, { NOTIFY_SOCKET: path })!;

  it('keeps, replaces and forgets what it is sent, and hears the rest', async () => {
    using _keeper = listen();
    const keeper = new SystemdKeeper(notify(), new Map());
    withOpen(['/dev/null', '/dev/zero'], (first, second) => {
      keeper.keep('vif7.0', first);
      keeper.keep('vif7.0', second);
      keeper.keep('vif7.0.q1', first);
    });
    keeper.forget('vif7.0.q1');
    keeper.forget('vif9.0');
    new ServiceManager(notify(), {}).ready('1 vif attached');
    await expect.poll(() => heard).toEqual(['READY=1;STATUS=1 vif attached']);
    expect(kept.names).toEqual(['vif7.0']);
    withOpen(['/dev/zero'], (zero) => expect(inodeOf(kept.get('vif7.0')!)).toBe(inodeOf(zero)));
    expect(errors).toEqual([]);
  });

  it('refuses what is no descriptor with a good name, and leaves nothing of it open', async () => {
    using _keeper = listen();
    const send = (text: string, descriptor?: number) => addon().sendDatagram(path, text, descriptor);
    withOpen(['/dev/null'], (descriptor) => {
      for (const name of ['', 'a:b', 'a b', `${'x'.repeat(65)}`, 'ö'])
        send(`FDSTORE=1\nFDNAME=${name}`, descriptor);
      send('FDSTORE=1\nFDNAME=vif7.0');
      send(`FDSTORE=1\nFDNAME=vif7.0\n${'x'.repeat(5000)}`, descriptor);
      send('STATUS=with a descriptor', descriptor);
      send('no assignment, and \0');
      send('FDSTORE=1\nFDNAME=vif8.0', descriptor);
    });
    await expect.poll(() => kept.names).toEqual(['vif8.0']);
    expect(errors).toHaveLength(7);
    expect(errors.slice(-2)).toEqual([
      expect.stringMatching(
        /^ERR_STATE A descriptor .*vif7\.0.* is not stored: the datagram has no descriptor\.$/,
      ),
      expect.stringMatching(/^ERR_STATE The socket .* refused \(EMSGSIZE\)/),
    ]);
    expect(heard).toEqual(['STATUS=with a descriptor', 'no assignment, and \0=']);
  });

  it('stores a bounded number, and still replaces and removes', async () => {
    using _keeper = listen();
    const keeper = new SystemdKeeper(notify(), new Map());
    const stderr = addon().duplicateDescriptor(2);
    for (let i = 0; i < 4096; i++) kept.own(`n${i}`, addon().duplicateDescriptor(stderr));
    keeper.keep('one', stderr);
    keeper.keep('n0', stderr);
    keeper.forget('n1');
    await expect.poll(() => kept.get('n1')).toBeUndefined();
    expect(errors).toEqual([expect.stringContaining('4096 are stored already')]);
    keeper.keep('one', stderr);
    await expect.poll(() => kept.get('one')).toBeDefined();
    kept.own('last', stderr);
  });

  it('takes the place of an earlier socket, and takes its own away', () => {
    listen()[Symbol.dispose]();
    expect(existsSync(path)).toBe(false);
    using _keeper = listen();
    listen()[Symbol.dispose]();
    path = join(directory, 'nowhere', 'notify');
    expect(listen).toThrow(expect.objectContaining({ code: 'ERR_STATE', errno: 'ENOENT' }));
    path = join(directory, 'notify');
  });

  it('hands one process what another had before it was killed', async () => {
    using _keeper = listen();
    const program = `
      import { fstatSync, openSync } from 'node:fs';
      import { NotifySocket } from '${dist('host/notify-socket.js')}';
      import { inheritedDescriptors, SystemdKeeper } from '${dist('host/systemd-keeper.js')}';
      import { systemClock } from '${dist('xen/native/clock.js')}';
      const fail = (error) => { throw error; };
      const socket = NotifySocket.find({ clock: systemClock, onError: fail, onMended: fail });
      const keeper = new SystemdKeeper(socket, inheritedDescriptors());
      const taken = ['vif7.0', 'vif8.0'].map((name) => keeper.take(name));
      if (taken[0] === undefined) keeper.keep('vif7.0', openSync('/dev/zero'));
      if (taken[1] === undefined) keeper.keep('vif8.0', openSync('/dev/null'));
      const inodes = taken.map((fd) => fd === undefined ? 'none' : String(fstatSync(fd, { bigint: true }).ino));
      console.log(JSON.stringify([inodes, process.env.LISTEN_FDNAMES ?? 'forgotten']));
      setInterval(() => {}, 1000);`;
    const run = async () => {
      const { command, env, descriptors } = inheriting(kept, [
        process.execPath,
        '--input-type=module',
        '-e',
        program,
      ]);
      const [file = '', ...args] = command;
      const child = spawn(file, args, {
        env: { ...process.env, ...env, NOTIFY_SOCKET: path },
        stdio: ['ignore', 'pipe', 'inherit', ...descriptors],
      });
      const [text] = await once(child.stdout!, 'data');
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
      return JSON.parse(`${text}`);
    };
    expect(await run()).toEqual([['none', 'none'], 'forgotten']);
    await expect.poll(() => kept.names).toEqual(['vif7.0', 'vif8.0']);
    const inodes = withOpen(['/dev/zero', '/dev/null'], (...both) => both.map((fd) => `${inodeOf(fd)}`));
    expect(await run()).toEqual([inodes, 'forgotten']);
    expect(await run()).toEqual([inodes, 'forgotten']);
  });
});
