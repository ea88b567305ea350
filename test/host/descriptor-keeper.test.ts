import { closeSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { NO_KEEPER } from '../../lib/host/descriptor-keeper.js';
import { LocalKeeper } from '../../lib/host/local-keeper.js';
import { NotifySocket } from '../../lib/host/notify-socket.js';
import { inheritedDescriptors, SystemdKeeper } from '../../lib/host/systemd-keeper.js';
import { systemClock } from '../../lib/xen/native/clock.js';
import { Datagrams, whyNoDatagrams } from '../../worlds/processes/datagrams.js';
import { whyNoAddon } from '../native/reason.js';
import { inodeOf, openCount, withOpen } from './descriptors.js';

const rethrow = (error: Error) => {
  throw error;
};

describe('without a keeper', () => {
  it('nothing is stored', () => {
    withOpen(['/dev/null'], (descriptor) => NO_KEEPER.keep('vif7.0', descriptor));
    expect(NO_KEEPER.take('vif7.0')).toBeUndefined();
    expect(() => NO_KEEPER.forget('vif7.0')).not.toThrow();
  });
});

describe('what a service manager passes on', () => {
  const env = (values: NodeJS.ProcessEnv): NodeJS.ProcessEnv => ({ LISTEN_PID: `${process.pid}`, ...values });

  it('has the names under which it was stored', () => {
    const found = inheritedDescriptors(env({ LISTEN_FDS: '3', LISTEN_FDNAMES: 'vif7.0:vif7.0.q1:vif8.0' }));
    expect([...found]).toEqual([
      ['vif7.0', 3],
      ['vif7.0.q1', 4],
      ['vif8.0', 5],
    ]);
  });

  it.each([
    ['is another process’s', { LISTEN_PID: '1', LISTEN_FDS: '1', LISTEN_FDNAMES: 'vif7.0' }],
    ['is not there', {}],
    ['has no number', env({ LISTEN_FDS: 'many', LISTEN_FDNAMES: 'vif7.0' })],
    ['has no names', env({ LISTEN_FDS: '0', LISTEN_FDNAMES: '' })],
  ])('is nothing where it %s', (_what, values) => {
    expect([...inheritedDescriptors({ ...values })]).toEqual([]);
  });

  it('is of as many as have names, and the last of a name counts', () => {
    const found = inheritedDescriptors(env({ LISTEN_FDS: '9', LISTEN_FDNAMES: 'vif7.0:vif7.0' }));
    expect([...found]).toEqual([['vif7.0', 4]]);
  });

  it('is forgotten in the environment', () => {
    const values = env({ LISTEN_FDS: '1', LISTEN_FDNAMES: 'vif7.0', OTHER: 'stays' });
    inheritedDescriptors(values);
    expect(values).toEqual({ OTHER: 'stays' });
  });

  it('is handed over once, also where nothing can be stored any more', () => {
    const keeper = new SystemdKeeper(undefined, new Map([['vif7.0', 3]]));
    keeper.keep('vif8.0', 9);
    keeper.forget('vif9.0');
    expect([keeper.take('vif8.0'), keeper.take('vif7.0'), keeper.take('vif7.0')]).toEqual([
      undefined,
      3,
      undefined,
    ]);
  });

  const why = whyNoDatagrams ?? whyNoAddon();
  it.skipIf(why)('is stored and removed by datagrams', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'vifd-keeper-'));
    const path = join(directory, 'notify');
    using datagrams = await Datagrams.bind(path);
    const parts = { clock: systemClock, onError: rethrow, onMended: rethrow };
    const keeper = new SystemdKeeper(NotifySocket.find(parts, { NOTIFY_SOCKET: path }), new Map());
    withOpen(['/dev/null'], (descriptor) => keeper.keep('vif7.0', descriptor));
    keeper.forget('vif7.0');
    await datagrams.until('FDSTOREREMOVE');
    expect(datagrams.received).toEqual(['FDSTORE=1;FDNAME=vif7.0', 'FDSTOREREMOVE=1;FDNAME=vif7.0']);
    rmSync(directory, { recursive: true });
  });
});

describe.skipIf(whyNoAddon())('a keeper in this process', () => {
  it('gives each later process a duplicate of its own, once', () => {
    const before = openCount();
    using kept = new LocalKeeper(rethrow);
    const inode = withOpen(['/dev/null'], (descriptor) => {
      kept.forProcess().keep('vif7.0', descriptor);
      return inodeOf(descriptor);
    });
    for (const process of [kept.forProcess(), kept.forProcess()]) {
      const taken = process.take('vif7.0')!;
      expect(inodeOf(taken)).toBe(inode);
      expect(process.take('vif7.0')).toBeUndefined();
      closeSync(taken);
    }
    expect(openCount()).toBe(before + 1);
    kept[Symbol.dispose]();
    expect(openCount()).toBe(before);
  });

  it('gives a process nothing that was stored after its start', () => {
    using kept = new LocalKeeper(rethrow);
    const process = kept.forProcess();
    withOpen(['/dev/null'], (descriptor) => process.keep('vif7.0', descriptor));
    expect(process.take('vif7.0')).toBeUndefined();
  });

  it('closes what is forgotten or replaced', () => {
    using kept = new LocalKeeper(rethrow);
    const process = kept.forProcess();
    const before = openCount();
    withOpen(['/dev/null', '/dev/zero'], (first, second) => {
      process.keep('vif7.0', first);
      process.keep('vif7.0', second);
      expect(inodeOf(kept.get('vif7.0')!)).toBe(inodeOf(second));
    });
    expect(openCount()).toBe(before + 1);
    process.forget('vif7.0');
    process.forget('vif7.0');
    expect(openCount()).toBe(before);
    expect(kept.forProcess().take('vif7.0')).toBeUndefined();
  });

  it('reports what it cannot duplicate, and keeps what it had', () => {
    const errors: Error[] = [];
    using kept = new LocalKeeper((error) => errors.push(error));
    withOpen(['/dev/null'], (descriptor) => kept.forProcess().keep('vif7.0', descriptor));
    kept.forProcess().keep('vif7.0', 1 << 20);
    expect(errors).toEqual([expect.objectContaining({ code: 'ERR_STATE', errno: 'EBADF' })]);
    expect(kept.names).toEqual(['vif7.0']);
  });
});
