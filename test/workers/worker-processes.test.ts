/** Real processes in the place of workers: started, and found. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { VifdError } from '../../lib/errors.js';
import type { VifId } from '../../lib/netback/vif-info.js';
import { adoptEarlier } from '../../lib/workers/adopt-earlier.js';
import { adoptedProcess } from '../../lib/workers/adopted-process.js';
import { Fleet } from '../../lib/workers/fleet.js';
import { Link } from '../../lib/workers/link.js';
import { LINK_PROTOCOL, type Request } from '../../lib/workers/messages.js';
import { RemoteVifs } from '../../lib/workers/remote-vifs.js';
import type { RunningWorker } from '../../lib/workers/running-worker.js';
import { startWorker } from '../../lib/workers/start-worker.js';
import { WorkerSocket } from '../../lib/workers/worker-socket.js';
import { systemClock } from '../../lib/xen/native/clock.js';
import type { Clock } from '../../lib/xen/seam.js';
import { until } from '../../worlds/processes/until.js';
import { RecordedLog } from './fake-workers.js';

const LIVENESS = new URL('../../dist/host/liveness.js', import.meta.url).href;
const SOON_MS = 5000;
const soon = async (holds: () => unknown) => expect(await until(holds, SOON_MS)).toBeTruthy();

describe('a started worker', () => {
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  it('has a link at descriptor 3, and nothing that a service manager means for its supervisor', async () => {
    for (const name of ['NOTIFY_SOCKET', 'LISTEN_FDS', 'WATCHDOG_USEC']) vi.stubEnv(name, '1');
    vi.stubEnv('VIFD_CODE_CACHE', '/nowhere');
    // Writes into its end of the link which of these it has, and which session it is in.
    const program = `
      const { NOTIFY_SOCKET, LISTEN_FDS, WATCHDOG_USEC, VIFD_CODE_CACHE, MALLOC_ARENA_MAX } = process.env;
      const own = [NOTIFY_SOCKET, LISTEN_FDS, WATCHDOG_USEC, VIFD_CODE_CACHE, MALLOC_ARENA_MAX];
      const session = require('node:fs').readFileSync('/proc/self/stat', 'latin1').split(' ')[5];
      require('node:fs').writeSync(3, JSON.stringify({ own, isLeader: Number(session) === process.pid }));
      setInterval(() => {}, 1000);`;
    const worker = await startWorker(['-e', program]);
    const heard: unknown[] = [];
    let ends = 0;
    using _link = new Link(worker.descriptor, { onMessage: (text) => heard.push(text), onEnd: () => ends++ });
    await soon(() => heard.length);
    expect(heard).toEqual([{ own: [null, null, null, '/nowhere', '1'], isLeader: true }]);
    worker.signal('SIGKILL');
    expect(await worker.gone).toBe('SIGKILL');
    await soon(() => ends);
    worker.signal('SIGTERM');
  });

  it.skipIf(!existsSync(new URL(LIVENESS)))(
    'has a page at descriptor 4, through which its supervisor sees it die',
    async () => {
      const program = `
      const { holdLiveness } = await import(${JSON.stringify(LIVENESS)});
      const memory = Buffer.alloc(200 << 20, 1);
      holdLiveness(4);
      require('node:fs').writeSync(3, '{}');
      setInterval(() => memory.length, 1000);`;
      const worker = await startWorker(['-e', `(async () => {${program}})()`]);
      let heard = 0;
      using _link = new Link(worker.descriptor, { onMessage: () => heard++, onEnd: () => {} });
      await soon(() => heard);
      expect(worker.isExiting()).toBe(false);
      worker.signal('SIGKILL');
      await worker.dying;
      // The kernel has the same to say, and the process is mostly not gone yet.
      expect(worker.isExiting()).toBe(true);
      expect(await worker.gone).toBe('SIGKILL');
      expect(worker.isExiting()).toBe(false);
    },
  );

  it('is seen to die by the end of its process, where it does not use the page', async () => {
    const worker = await startWorker(['-e', 'setInterval(() => {}, 1000)']);
    using _link = new Link(worker.descriptor, { onMessage: () => {}, onEnd: () => {} });
    worker.signal('SIGKILL');
    await worker.dying;
    expect(await worker.gone).toBe('SIGKILL');
  });

  it('that ends by itself is gone with its exit code', async () => {
    const worker = await startWorker(['-e', 'process.exit(3)']);
    using _link = new Link(worker.descriptor, { onMessage: () => {}, onEnd: () => {} });
    expect(await worker.gone).toBe('code 3');
  });

  it('cannot be started without a program, which names the errno and leaves no descriptor open', async () => {
    const { execPath } = process;
    const descriptors = () => readdirSync('/proc/self/fd').length;
    process.execPath = '/nowhere/node';
    try {
      await expect(startWorker([])).rejects.toMatchObject({ code: 'ERR_WORKER', errno: 'ENOENT' });
      const before = descriptors();
      await expect(startWorker([])).rejects.toThrow(/cannot be started \(ENOENT\)/);
      expect(descriptors()).toBe(before);
    } finally {
      process.execPath = execPath;
    }
  });
});

describe('a process that another supervisor has started', () => {
  let child: ChildProcess;
  beforeEach(() => {
    child = spawn('sleep', ['100'], { stdio: 'ignore' });
  });
  afterEach(() => {
    child.kill('SIGKILL');
  });

  it('is gone when it has ended, by a signal of this supervisor or without one', async () => {
    const one = adoptedProcess(child.pid!, systemClock)!;
    one.signal('SIGKILL');
    expect(await one.gone).toBe('SIGKILL');
    expect(adoptedProcess(child.pid!, systemClock)).toBeUndefined();
    const other = spawn('sleep', ['100'], { stdio: 'ignore' });
    const { gone } = adoptedProcess(other.pid!, systemClock)!;
    other.kill('SIGTERM');
    expect(await gone).toBe('ended');
  });

  it('is not taken for another one that has its number', async () => {
    const proc = mkdtempSync(join(tmpdir(), 'vifd-proc-'));
    mkdirSync(`${proc}/${child.pid}`);
    const stat = (state: string, threads: number, startTime: number) => {
      const fields = [state, ...Array(16).fill(0), threads, 0, startTime, 0];
      writeFileSync(`${proc}/${child.pid}/stat`, `${child.pid} (a ) b) ${fields.join(' ')}\n`);
    };
    stat('S', 8, 1000);
    const one = adoptedProcess(child.pid!, systemClock, proc)!;
    let how: string | undefined;
    void one.gone.then((end) => {
      how = end;
    });
    // Its first thread has ended, and others still use its descriptors.
    stat('Z', 2, 1000);
    one.signal('SIGUSR1');
    await new Promise((resolve) => setTimeout(resolve, 120));
    expect(how).toBeUndefined();
    stat('S', 8, 1001);
    one.signal('SIGKILL');
    await soon(() => how);
    expect([how, child.exitCode, child.killed]).toEqual(['ended', null, false]);
    rmSync(proc, { recursive: true });
  });

  it('counts as running, and is killed, while it cannot be looked at', async () => {
    const proc = mkdtempSync(join(tmpdir(), 'vifd-proc-'));
    const stat = `${proc}/${child.pid}/stat`;
    mkdirSync(`${proc}/${child.pid}`);
    writeFileSync(stat, `${child.pid} (a) S${' 1'.repeat(20)}\n`);
    const one = adoptedProcess(child.pid!, systemClock, proc)!;
    let how: string | undefined;
    void one.gone.then((end) => {
      how = end;
    });
    // EISDIR, as EMFILE is for a process that has opened too many files.
    rmSync(stat);
    mkdirSync(stat);
    const exited = once(child, 'exit');
    one.signal('SIGKILL');
    await exited;
    expect(how).toBeUndefined();
    rmSync(proc, { recursive: true });
    expect(await one.gone).toBe('SIGKILL');
  });

  it('may end between the look at it and a signal', async () => {
    child.kill('SIGKILL');
    await once(child, 'exit');
    const proc = mkdtempSync(join(tmpdir(), 'vifd-proc-'));
    mkdirSync(`${proc}/${child.pid}`);
    writeFileSync(`${proc}/${child.pid}/stat`, `${child.pid} (a) S${' 1'.repeat(20)}\n`);
    const one = adoptedProcess(child.pid!, systemClock, proc)!;
    one.signal('SIGKILL');
    rmSync(proc, { recursive: true });
    expect(await one.gone).toBe('SIGKILL');
  });
});

describe('the workers of an earlier supervisor', () => {
  let directory: string;
  let child: ChildProcess;
  const adopted: string[] = [];
  const errors: string[] = [];
  const heard: Request[] = [];
  const recorded = new RecordedLog();
  let fleet: Fleet;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'vifd-earlier-'));
    child = spawn('sleep', ['100'], { stdio: 'ignore' });
    for (const list of [adopted, errors, heard]) list.length = 0;
    const none = () => Promise.reject(new Error('starts none'));
    fleet = new Fleet({
      clock: systemClock,
      log: recorded.log,
      start: none,
      memoryOf: () => 0,
      schedulingOf: () => undefined,
      onAttached: () => {},
      onGone: () => {},
      onDied: () => [],
    });
  });
  afterEach(async () => {
    child.kill('SIGKILL');
    await fleet.end();
    rmSync(directory, { recursive: true });
  });

  /** Who has the lock of vif9.0 at each look; after that, the worker. */
  const looks: (number | undefined)[] = [];
  const holder = ({ id }: { readonly id: string }): number | undefined => {
    if (id === 'vif9.0' && looks.length > 0) return looks.shift();
    if (id === 'vif99999.0') throw new VifdError('ERR_ARGUMENT', 'No vif has that number.');
    return id === 'vif8.0' ? 1 : id === 'vif8.1' ? undefined : child.pid;
  };
  const adopt = (clock: Clock = systemClock) =>
    adoptEarlier({
      ...{ directory, locks: { holder }, domid: 0, clock, fleet },
      supervisor: {
        adopt: (worker: RunningWorker, places) =>
          void adopted.push(`${worker.pid} ${places.map(({ path }) => path).join(' ')}`),
      },
      connect: (descriptor, reports) => {
        const nothing = () => {};
        return new RemoteVifs(descriptor, {
          ...reports,
          ...{ onDetached: nothing, onChanged: nothing, onLookAgain: nothing, onKeepChannels: nothing },
          ...{
            onKeep: nothing,
            onForget: (name) => void adopted.push(`forget ${name}`),
            onForgetChannels: nothing,
          },
        });
      },
      onError: ({ message }) => errors.push(message),
    });

  /** The socket of a worker, at which this test responds. */
  const socket = (vifs: readonly VifId[], protocol: number, pid = child.pid!, ended: readonly VifId[] = []) =>
    new WorkerSocket(directory, child.pid!, {
      onLink: (descriptor) => {
        const link = new Link(descriptor, {
          onMessage: (message) => {
            const request = message as Request;
            heard.push(request);
            link.send({ number: request.number, result: null });
            if (request.ask === 'end') child.kill('SIGTERM');
          },
          onEnd: () => clearInterval(beating),
        });
        const beating = setInterval(() => link.send({ report: 'alive', load: 0 }), 100);
        link.send({ report: 'hello', protocol, version: '9.9.9', pid, vifs });
        for (const vif of ended) link.send({ report: 'gone', vif });
        for (const name of vifs.filter((vif) => !ended.includes(vif)))
          link.send({ report: 'forget-descriptor', name });
      },
      onError: ({ message }) => errors.push(message),
    });

  it('continue with their vifs; one without vifs becomes the standby', async () => {
    using _socket = socket(['vif7.0', 'vif7.1'], LINK_PROTOCOL);
    await adopt();
    expect(adopted).toEqual([
      ...['forget vif7.0', 'forget vif7.1'],
      `${child.pid} /local/domain/0/backend/vif/7/0 /local/domain/0/backend/vif/7/1`,
    ]);
    expect([fleet.standby, errors]).toEqual([undefined, []]);
    using _other = socket([], LINK_PROTOCOL);
    await adopt();
    expect(fleet.standby?.pid).toBe(child.pid);
  });

  it('continue with the vifs whose locks they have; one is killed that names a vif of another process, or none that can be', async () => {
    using _socket = socket(['vif7.0', 'vif8.1'], LINK_PROTOCOL);
    await adopt();
    // The descriptors of the other vif are not its own to change.
    expect([adopted.splice(0), errors]).toEqual([
      ['forget vif7.0', `${child.pid} /local/domain/0/backend/vif/7/0`],
      [],
    ]);
    for (const named of ['vif8.0', 'vif99999.0'] as const) {
      using _other = socket(['vif7.0', named], LINK_PROTOCOL);
      const exited = once(child, 'exit');
      await adopt();
      await exited;
      expect([adopted, errors.splice(0)]).toEqual([
        [],
        [expect.stringContaining(`names ${named}, which it does not serve`)],
      ]);
      child = spawn('sleep', ['100'], { stdio: 'ignore' });
    }
  });

  it('continue without a vif that ends right behind their hello', async () => {
    using _socket = socket(['vif7.0', 'vif7.1'], LINK_PROTOCOL, child.pid, ['vif7.0']);
    await adopt();
    expect([adopted, errors]).toEqual([
      ['forget vif7.1', `${child.pid} /local/domain/0/backend/vif/7/1`],
      [],
    ]);
  });

  it('continue with a vif whose lock a dead process still has, or that they have not got yet', async () => {
    const dead = spawn('true', { stdio: 'ignore' });
    await once(dead, 'exit');
    looks.push(...Array(5).fill(dead.pid), ...Array(3).fill(undefined));
    using _socket = socket(['vif9.0'], LINK_PROTOCOL);
    await adopt();
    expect([adopted, errors, looks]).toEqual([
      ['forget vif9.0', `${child.pid} /local/domain/0/backend/vif/9/0`],
      [],
      [],
    ]);
    expect(child.exitCode ?? child.signalCode).toBeNull();
  });

  it('continue without a vif whose lock they do not take when a dead process has it no more', async () => {
    const dead = spawn('true', { stdio: 'ignore' });
    await once(dead, 'exit');
    looks.push(dead.pid, ...Array(1000).fill(undefined));
    using _socket = socket(['vif9.0'], LINK_PROTOCOL);
    await adopt();
    expect([adopted, errors, fleet.standby?.pid]).toEqual([[], [], child.pid]);
    looks.length = 0;
  });

  it.each([
    ['of another protocol version', LINK_PROTOCOL + 1, 0, /speaks another protocol \(\d+, vifd 9\.9\.9\)/],
    ['that names another process', LINK_PROTOCOL, 1, /calls itself \d+/],
  ])('are asked to detach and to end: one %s', async (_name, protocol, more, message) => {
    const exited = once(child, 'exit');
    using _socket = socket(['vif7.0'], protocol, child.pid! + more);
    await adopt();
    await exited;
    expect(heard).toMatchObject([{ ask: 'end' }]);
    expect([adopted, errors]).toEqual([[], [expect.stringMatching(message)]]);
    expect(existsSync(join(directory, `worker-${child.pid}`))).toBe(false);
  });

  it('are not waited for if they have ended', async () => {
    // A socket may outlive its process in a child of that.
    using _socket = socket(['vif7.0'], LINK_PROTOCOL);
    child.kill('SIGKILL');
    await once(child, 'exit');
    await adopt();
    expect([adopted, errors]).toEqual([[], []]);
  });

  it('leave a socket, and then no process is watched that has their number', async () => {
    let timers = 0;
    const counting: Clock = {
      now: () => systemClock.now(),
      after: (ms, fire) => {
        timers++;
        return systemClock.after(ms, fire);
      },
    };
    writeFileSync(join(directory, `worker-${child.pid}`), '');
    await adopt(counting);
    expect([adopted, errors, timers]).toEqual([[], [], 0]);
    expect(existsSync(join(directory, `worker-${child.pid}`))).toBe(false);
  });

  it('are killed if they hang, so that others get their vifs', async () => {
    const links: number[] = [];
    // Its link stays open, and nothing comes by it.
    using _socket = new WorkerSocket(directory, child.pid!, {
      onLink: (link) => links.push(link),
      onError: () => {},
    });
    const exited = once(child, 'exit');
    await adopt();
    await exited;
    for (const link of links) closeSync(link);
    expect([adopted, errors]).toEqual([
      [],
      [expect.stringMatching(/^The worker \d+ ended before it could serve/)],
    ]);
  });
});
