import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { VifdError } from '../lib/errors.js';
import { NotifySocket, type NotifySocketParts } from '../lib/host/notify-socket.js';
import { ServiceManager } from '../lib/host/service-manager.js';
import { SystemdKeeper } from '../lib/host/systemd-keeper.js';
import { systemClock } from '../lib/xen/native/clock.js';
import { Datagrams, whyNoDatagrams } from '../worlds/processes/datagrams.js';
import { whyNoAddon } from './native/reason.js';

/** As `vifd run` finds it. */
function find(parts: NotifySocketParts, env: NodeJS.ProcessEnv): ServiceManager | undefined {
  const socket = NotifySocket.find(parts, env);
  return socket && new ServiceManager(socket, env);
}

const why = whyNoDatagrams ?? whyNoAddon();

describe.skipIf(why)(`a service manager${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync('/tmp/vifd-notify-');
  });
  afterAll(() => rmSync(directory, { recursive: true }));
  const rethrow = (error: Error) => {
    throw error;
  };
  const fail = { clock: systemClock, onError: rethrow, onMended: rethrow };
  const heard: string[] = [];
  const hear = {
    clock: systemClock,
    onError: ({ code, errno }: VifdError) => heard.push(`${code} ${errno}`),
    onMended: ({ errno }: VifdError) => heard.push(`mended ${errno}`),
  };

  it.each(['path', 'abstract'])('hears of each step, at a socket with a name that is %s', async (kind) => {
    const socket = kind === 'path' ? join(directory, 'notify') : `@vifd-test-${process.pid}`;
    using datagrams = await Datagrams.bind(socket);
    const manager = find(fail, { NOTIFY_SOCKET: socket });
    manager?.ready('2 vifs attached');
    manager?.status('1 vif attached');
    manager?.stopping('detaching');
    await datagrams.until('STOPPING');
    expect(datagrams.received).toEqual([
      'READY=1;STATUS=2 vifs attached',
      'STATUS=1 vif attached',
      'STOPPING=1;STATUS=detaching',
    ]);
  });

  it('has its watchdog fed twice a period, until the end', async () => {
    const socket = join(directory, 'watchdog');
    using datagrams = await Datagrams.bind(socket);
    const env = { NOTIFY_SOCKET: socket, WATCHDOG_USEC: '40000', WATCHDOG_PID: `${process.pid}` };
    const manager = find(fail, env);
    await datagrams.until('WATCHDOG=1');
    manager?.stopping('');
    await datagrams.until('STOPPING');
    const count = datagrams.received.length;
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(datagrams.received.length).toBe(count);
  });

  it("leaves another process's watchdog alone", async () => {
    const socket = join(directory, 'other');
    using datagrams = await Datagrams.bind(socket);
    const env = { NOTIFY_SOCKET: socket, WATCHDOG_USEC: '1000', WATCHDOG_PID: '1' };
    const manager = find(fail, env);
    await new Promise((resolve) => setTimeout(resolve, 50));
    manager?.ready('');
    await datagrams.until('READY');
    expect(datagrams.received).toEqual(['READY=1;STATUS=']);
  });

  it('is not there without NOTIFY_SOCKET; one that does not listen is reported once', () => {
    expect(find(fail, {})).toBeUndefined();
    heard.length = 0;
    const env = { NOTIFY_SOCKET: join(directory, 'nobody') };
    const manager = find(hear, env);
    manager?.ready('');
    manager?.status('');
    expect(heard).toEqual(['ERR_SERVICE_MANAGER ENOENT']);
    manager?.stopping('');
    const long = { NOTIFY_SOCKET: `/${'x'.repeat(200)}` };
    const another = find(hear, long);
    another?.ready('');
    another?.stopping('');
    expect(heard[1]).toBe('ERR_SERVICE_MANAGER EINVAL');
  });

  it('that comes late gets within a second what it missed, and that is reported as mended', async () => {
    heard.length = 0;
    const socket = join(directory, 'late');
    const notify = NotifySocket.find(hear, { NOTIFY_SOCKET: socket })!;
    const manager = new ServiceManager(notify, {});
    manager.ready('1 vif attached');
    manager.status('2 vifs attached');
    new SystemdKeeper(notify, new Map()).forget('vif7.0');
    await new Promise((resolve) => setTimeout(resolve, 100));
    using datagrams = await Datagrams.bind(socket);
    await datagrams.until('FDSTOREREMOVE');
    await datagrams.until('READY');
    // The socket may have come between the two: then READY is sent at the next try.
    expect(datagrams.received.sort()).toEqual([
      'FDSTOREREMOVE=1;FDNAME=vif7.0',
      'READY=1;STATUS=2 vifs attached',
    ]);
    await expect.poll(() => heard).toEqual(['ERR_SERVICE_MANAGER ENOENT', 'mended ENOENT']);
    rmSync(socket);
    manager.status('1 vif attached');
    expect(heard).toHaveLength(3);
    manager.stopping('');
  });

  it('that listens again is reported too, and reported anew when it goes again', async () => {
    const socket = join(directory, 'again');
    const events: string[] = [];
    const manager = find(
      {
        clock: systemClock,
        onError: ({ errno }) => events.push(`lost ${errno}`),
        onMended: ({ errno }) => events.push(`back ${errno}`),
      },
      { NOTIFY_SOCKET: socket },
    );
    manager?.status('nobody hears this');
    {
      using _datagrams = await Datagrams.bind(socket);
      manager?.status('one');
      manager?.status('two');
      rmSync(socket);
    }
    manager?.status('nobody hears this either');
    expect(events).toEqual(['lost ENOENT', 'back ENOENT', 'lost ENOENT']);
    manager?.stopping('');
  });
});
