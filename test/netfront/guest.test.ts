/** The guest as a process of its own on the simulated Xen, against a backend in this process. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createVif } from '../../lib/testing/netfront/index.js';
import { StoreServer } from '../../lib/testing/xenstored/server.js';
import { ModelStore } from '../../lib/testing/xenstored/store.js';
import { openXen } from '../../lib/xen/native/open.js';
import type { Xen } from '../../lib/xen/seam.js';
import { openStore } from '../../lib/xen/store/client.js';
import { LoopBackend } from './loop-backend.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const GUEST = join(ROOT, 'dist/testing/netfront/guest.js');
const LIBRARIES = join(ROOT, 'build/Release/xensim');
const built = [GUEST, join(ROOT, 'build/Release/vifd.node'), join(LIBRARIES, 'libxengnttab.so.1')].every(
  (path) => existsSync(path),
);

interface Line {
  readonly event: string;
  readonly [key: string]: unknown;
}

/** A guest, and what it has printed. */
class GuestProcess {
  readonly lines: Line[] = [];
  readonly #child: ChildProcess;
  readonly #ended: Promise<number>;
  errors = '';

  constructor(args: string[], env: Record<string, string>) {
    this.#child = spawn(process.execPath, [GUEST, ...args], { env: { ...process.env, ...env } });
    createInterface({ input: this.#child.stdout! }).on('line', (line) => this.lines.push(JSON.parse(line)));
    this.#child.stderr!.on('data', (data) => {
      this.errors += data;
    });
    this.#ended = once(this.#child, 'close').then(([code]) => code as number);
  }

  async line(event: string, holds: (line: Line) => boolean = () => true): Promise<Line> {
    for (let i = 0; i < 500; i++) {
      const found = this.lines.find((line) => line.event === event && holds(line));
      if (found !== undefined) return found;
      await sleep(20);
    }
    throw new Error(`no ${event} in ${JSON.stringify(this.lines)} ${this.errors}`);
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  end(): Promise<number> {
    return this.#ended;
  }
}

describe.skipIf(!built)(`a guest process${built ? '' : ' (skipped: run `npm run build`)'}`, () => {
  let directory: string;
  let server: StoreServer;
  let dom0: Xen;
  let backend: LoopBackend;
  let env: Record<string, string>;

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'vifd-guest-'));
    process.env.XENSIM = directory;
    const socket = join(directory, 'store');
    const store = new ModelStore();
    store.introduce(0);
    store.introduce(7);
    server = new StoreServer(store);
    await server.listen(socket, 0);
    env = { XENSIM: directory, XENSTORED_PATH: socket };
    dom0 = await openXen({ domid: 0, libraries: LIBRARIES, store: await openStore({ path: socket }) });
    await createVif(dom0.store, { domid: 7, handle: 0, mac: '00:16:3e:00:00:07' });
    backend = new LoopBackend(dom0, 7, 0);
  });

  afterEach(async () => {
    await dom0[Symbol.asyncDispose]();
    await server.close();
    rmSync(directory, { recursive: true, force: true });
    delete process.env.XENSIM;
  });

  async function frontendState(state: string): Promise<void> {
    for (let i = 0; i < 500; i++) {
      if ((await backend.frontendState()) === state) return;
      await sleep(10);
    }
    throw new Error(`the frontend is not in state ${state}`);
  }

  function start(...args: string[]): GuestProcess {
    return new GuestProcess(['--domid', '7', '--libraries', LIBRARIES, ...args], env);
  }

  async function attach(): Promise<void> {
    await frontendState('4');
    await backend.attach();
    await backend.state(4);
  }

  test('sends and checks frames, prints its figures, and closes at SIGTERM', async () => {
    await backend.announce();
    const guest = start(
      '--send',
      '60,1514,65535',
      '--frames',
      '3000',
      '--check',
      '1',
      '--stats-every-ms',
      '50',
    );
    await attach();
    await guest.line('connected');
    await guest.line('stats', (line) => line.came === 3000);
    guest.signal('SIGTERM');
    await frontendState('5');
    await backend.state(5);
    await frontendState('6');
    backend.detach();
    await backend.state(6);
    expect(await guest.end()).toBe(0);
    expect(await guest.line('summary')).toMatchObject({
      reason: 'closed by us',
      violations: 0,
      sent: 3000,
      checked: { frames: 3000, lost: 0, repeated: 0, damaged: 0 },
    });
  });

  test('reports at once what the backend did wrong, and ends with 1', async () => {
    await backend.announce();
    const guest = start('--combined');
    await attach();
    await guest.line('connected');
    const ref = Number(await dom0.store.read(`${backend.frontendPath}/rx-ring-ref`));
    const ring = dom0.grants.map(7, [ref], 'write');
    const words = new Uint32Array(ring.page(0).buffer, ring.page(0).byteOffset, 4);
    words[2] = 999;
    const port = Number(await dom0.store.read(`${backend.frontendPath}/event-channel`));
    backend.detach();
    ring.unmap();
    const channel = dom0.events.bind(7, port, () => {});
    channel.notify();
    await guest.line('violation', (line) => line.kind === 'responses-beyond-requests');
    channel.close();
    await backend.state(6);
    expect(await guest.end()).toBe(1);
    expect(await guest.line('summary')).toMatchObject({ kinds: { 'responses-beyond-requests': 1 } });
  });

  test('prints its figures at SIGUSR1', async () => {
    await backend.announce();
    const guest = start();
    await attach();
    await guest.line('connected');
    guest.signal('SIGUSR1');
    expect(await guest.line('stats')).toMatchObject({ violations: 0, toGuest: { frames: 0 } });
    backend.detach();
    await backend.state(6);
    expect(await guest.end()).toBe(0);
  });

  test('reports what is wrong with its arguments, and ends with 2', async () => {
    const guest = new GuestProcess(['--domid', 'seven'], env);
    expect(await guest.end()).toBe(2);
    expect(guest.errors).toContain('--domid is "seven"');
  });
});
