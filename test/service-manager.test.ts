import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ServiceManager } from '../lib/service-manager.js';
import { Datagrams, whyNoDatagrams } from './datagrams.js';
import { whyNoAddon } from './native/reason.js';

const why = whyNoDatagrams ?? whyNoAddon();

describe.skipIf(why)(`a service manager${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync('/tmp/vifd-notify-');
  });
  afterAll(() => rmSync(directory, { recursive: true }));
  const fail = (error: Error) => {
    throw error;
  };

  it.each(['path', 'abstract'])('hears of each step, at a socket with a name that is %s', async (kind) => {
    const socket = kind === 'path' ? join(directory, 'notify') : `@vifd-test-${process.pid}`;
    using datagrams = await Datagrams.bind(socket);
    const manager = ServiceManager.find(fail, { NOTIFY_SOCKET: socket });
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
    const manager = ServiceManager.find(fail, env);
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
    const manager = ServiceManager.find(fail, env);
    await new Promise((resolve) => setTimeout(resolve, 50));
    manager?.ready('');
    await datagrams.until('READY');
    expect(datagrams.received).toEqual(['READY=1;STATUS=']);
  });

  it('is not there without NOTIFY_SOCKET; one that does not listen is reported once', () => {
    expect(ServiceManager.find(fail, {})).toBeUndefined();
    const errors: unknown[] = [];
    const env = { NOTIFY_SOCKET: join(directory, 'nobody') };
    const manager = ServiceManager.find((error) => errors.push([error.code, error.errno]), env);
    manager?.ready('');
    manager?.status('');
    expect(errors).toEqual([['ERR_SERVICE_MANAGER', 'ENOENT']]);
    const long = { NOTIFY_SOCKET: `/${'x'.repeat(200)}` };
    ServiceManager.find((error) => errors.push([error.code, error.errno]), long)?.ready('');
    expect(errors[1]).toEqual(['ERR_SERVICE_MANAGER', 'EINVAL']);
  });

  it('that listens again is reported too, and reported anew when it goes again', async () => {
    const socket = join(directory, 'again');
    const events: string[] = [];
    const manager = ServiceManager.find(
      ({ errno }) => events.push(`lost ${errno}`),
      { NOTIFY_SOCKET: socket },
      ({ errno }) => events.push(`back ${errno}`),
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
  });
});
