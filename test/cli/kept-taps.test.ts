import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createVif } from '../../lib/testing/netfront/index.js';
import type { Store } from '../../lib/xen/seam.js';
import { openStore } from '../../lib/xen/store/client.js';
import { killWorkers } from '../../worlds/processes/supervised.js';
import { inOwnNetwork } from '../own-network.js';
import { isLimited } from '../tap-network.js';

/**
 * Acts on descriptors as systemd does: stores those that it gets, and starts the next process with them. In Python, because Node cannot pass
 * descriptors.
 */
const MANAGER = `
import os, signal, socket, sys, threading
path, command, kept = sys.argv[1], sys.argv[2:], {}
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(path)
def listen():
    while True:
        text, descriptors, *_ = socket.recv_fds(notify, 4096, 1)
        words = dict(line.split('=', 1) for line in text.decode().splitlines())
        if 'FDSTORE' in words:
            kept[words['FDNAME']] = descriptors[0]
            print('kept', words['FDNAME'], flush=True)
        if 'FDSTOREREMOVE' in words:
            os.close(kept.pop(words['FDNAME']))
            print('forgot', words['FDNAME'], flush=True)
threading.Thread(target=listen, daemon=True).start()
def start():
    pid = os.fork()
    if pid == 0:
        high = [os.dup(fd) for fd in kept.values()]
        for at, fd in enumerate(high): os.dup2(fd, 100 + at)
        for at in range(len(high)): os.dup2(100 + at, 3 + at)
        named = {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': str(len(high)), 'LISTEN_FDNAMES': ':'.join(kept)}
        os.execvpe(command[0], command, {**os.environ, **(named if high else {}), 'NOTIFY_SOCKET': path})
    return pid
for line in sys.stdin:
    if line == 'start\\n': pid = start()
    elif line == 'kill\\n':
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        print('dead', flush=True)
`;

/** 4 MiB, at 2304 bytes a small frame (native/tap_limit.cc). */
const FRAMES_MAX = 1820;
const POLLED = { timeout: 5000 };

const VIFD = 'dist/vifd.cjs';
const LIBRARIES = 'build/Release/xensim';
const missing = [VIFD, `${LIBRARIES}/libxengnttab.so.1`].find((file) => !existsSync(file));
const python = spawnSync('python3', ['-c', 'import socket; socket.recv_fds']).status === 0;

/** A program, and the lines that it has printed. */
class Program {
  readonly lines: string[] = [];
  readonly #process: ReturnType<typeof spawn>;
  /** A guest ends by itself once its backend is gone. */
  readonly #gone: Promise<unknown>;
  #wake = () => {};

  constructor(command: readonly string[], env: NodeJS.ProcessEnv) {
    const [file = '', ...args] = command;
    this.#process = spawn(file, args, {
      env: { ...process.env, ...env },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#gone = once(this.#process, 'exit');
    createInterface(this.#process.stdout!).on('line', (line) => {
      this.lines.push(line);
      this.#wake();
    });
  }

  /** Writes a word to its stdin, and waits until it has printed the other words since. */
  async tell(word: string, ...expected: string[]): Promise<void> {
    const from = this.lines.length;
    this.#process.stdin?.write(`${word}\n`);
    await this.until(from, ...expected);
  }

  async until(from: number, ...expected: string[]): Promise<void> {
    while (!expected.every((text) => this.lines.slice(from).some((line) => line.includes(text)))) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  async end(): Promise<void> {
    this.#process.kill('SIGKILL');
    await this.#gone;
  }
}

function runTests(): void {
  const ip = (...args: string[]) => execFileSync('ip', args, { encoding: 'utf8' });
  const GUEST_MAC = '00:16:3e:00:00:07';
  let directory: string;
  let store: Store;
  let programs: Program[];
  let guest: Program;
  let manager: Program;
  let sender: ReturnType<typeof createSocket>;

  /** Kills vifd with its workers. */
  const kill = async (): Promise<void> => {
    await manager.tell('kill', 'dead');
    await killWorkers(directory);
  };
  /** Frames that the guest's end has passed to its network. */
  const came = () => Number(readFileSync('/sys/class/net/eth0/statistics/rx_packets', 'utf8'));
  const send = async (frames: number): Promise<void> => {
    for (let i = 0; i < frames; i++) await new Promise((done) => sender.send('x', 9, '10.7.0.2', done));
  };
  const count = (name: string) => Number(readFileSync(`/sys/class/net/vif7.0/statistics/${name}`, 'utf8'));
  /** As `vifd show` has it; a vifd can be asked from a second after its start on. */
  const dropped = async (): Promise<number> => {
    const show = [VIFD, 'show', 'vif7.0', '--json', '--journal', join(directory, 'j')];
    for (;;) {
      const { status, stdout } = spawnSync(process.execPath, show, { encoding: 'utf8' });
      if (status === 0) return JSON.parse(stdout).vifs[0].stats.toGuest.dropped;
      await sleep(50);
    }
  };
  /** Those of the tap that are attached. */
  const queues = () =>
    readdirSync('/sys/class/net/vif7.0/queues').filter((queue) => queue.startsWith('tx')).length;
  const isUp = (name: string) => ip('-o', 'link', 'show', 'dev', name).includes('LOWER_UP');

  beforeAll(async () => {
    directory = mkdtempSync('/dev/shm/vifd-test-');
    const socket = join(directory, 'store');
    const env = { XENSIM: directory, XENSTORED_PATH: socket, VIFD_XEN_LIBRARIES: LIBRARIES };
    ip('link', 'add', 'br0', 'address', '02:00:00:00:00:01', 'type', 'bridge', 'mcast_snooping', '0');
    // Otherwise the bridge would lose its carrier with the tap.
    ip('link', 'add', 'nic0', 'type', 'veth', 'peer', 'name', 'wire0');
    for (const name of ['nic0', 'wire0', 'br0']) ip('link', 'set', name, 'up');
    ip('link', 'set', 'nic0', 'master', 'br0');
    ip('address', 'add', '10.7.0.1/24', 'dev', 'br0');
    ip('neighbour', 'add', '10.7.0.2', 'lladdr', GUEST_MAC, 'dev', 'br0', 'nud', 'permanent');
    execFileSync('sh', ['-c', 'for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 > $f; done']);
    const serve = new Program(
      [process.execPath, 'dist/testing/xenstored/serve.js', `${socket}=0`, `${socket}.7=7`],
      env,
    );
    await serve.until(0, 'ready');
    store = await openStore({ path: socket });
    await createVif(store, { domid: 7, handle: 0, mac: GUEST_MAC });
    guest = new Program(
      [
        process.execPath,
        'dist/testing/netfront/guest.js',
        '--domid',
        '7',
        '--store',
        `${socket}.7`,
        '--tap',
        'eth0',
        '--queues',
        '2',
      ],
      env,
    );
    const vifd = [
      process.execPath,
      VIFD,
      'run',
      '--json',
      '--queues',
      '2',
      '--bridge',
      'br0',
      '--journal',
      join(directory, 'j'),
    ];
    manager = new Program(['python3', '-c', MANAGER, join(directory, 'notify'), ...vifd], env);
    programs = [serve, guest, manager];
    await manager.tell('start', 'kept vif7.0', 'kept vif7.0.q1', '"attached"');
    await guest.until(0, 'connected');
    sender = createSocket('udp4');
  });

  afterAll(async () => {
    sender.close();
    await kill();
    await store[Symbol.asyncDispose]();
    await Promise.all(programs.map((program) => program.end()));
    rmSync(directory, { recursive: true });
  });

  it('keep their carrier while no backend runs, and the next process delivers what was sent to the guest meanwhile', async () => {
    // The changes that a bridge, a routing daemon or NetworkManager would notice.
    const changes = readFileSync('/sys/class/net/vif7.0/carrier_changes', 'utf8');
    await kill();
    expect(isUp('vif7.0')).toBe(true);
    const before = came();
    await send(20);
    await sleep(50);
    expect(came()).toBe(before);
    await manager.tell('start', '"ready"');
    await expect.poll(came).toBe(before + 20);
    expect(readFileSync('/sys/class/net/vif7.0/carrier_changes', 'utf8')).toBe(changes);
    // The manager has it already.
    expect(manager.lines.filter((line) => line.startsWith('kept'))).toEqual([
      'kept vif7.0',
      'kept vif7.0.q1',
    ]);
    expect(queues()).toBe(2);
  });

  it.skipIf(!isLimited())(
    'queue 4 MiB for a guest that takes nothing, over a kill too, and it gets what was not counted as dropped',
    async () => {
      const before = came();
      const [read, lost] = [count('tx_packets'), count('tx_dropped')];
      const waiting = (sent: number) => sent - (count('tx_packets') - read) - (count('tx_dropped') - lost);
      guest.signal('SIGSTOP');
      await send(5000);
      const lostBefore = count('tx_dropped');
      expect(await dropped()).toBe(lostBefore);
      expect(waiting(5000)).toBeLessThanOrEqual(FRAMES_MAX);
      await kill();
      await send(2000);
      expect(waiting(7000)).toBeLessThanOrEqual(FRAMES_MAX);
      const lostWhileAway = count('tx_dropped');
      await manager.tell('start', '"ready"');
      await send(2000);
      expect(waiting(9000)).toBeLessThanOrEqual(FRAMES_MAX);
      expect(waiting(9000)).toBeGreaterThan(1000);
      // Frames that no vifd read are in no counter; those that the killed one counted are.
      expect(await dropped()).toBe(lostBefore + count('tx_dropped') - lostWhileAway);
      guest.signal('SIGCONT');
      await expect.poll(() => came() - before, POLLED).toBe(9000 - (count('tx_dropped') - lost));
      // There is room again.
      const all = came();
      await send(1000);
      await expect.poll(() => came() - all, POLLED).toBe(1000);
    },
  );

  it('are found by their descriptors, also when they were renamed meanwhile', async () => {
    await kill();
    ip('link', 'set', 'vif7.0', 'down');
    ip('link', 'set', 'vif7.0', 'name', 'web0', 'alias', 'of an administrator');
    ip('link', 'set', 'web0', 'up');
    const before = came();
    await send(10);
    await manager.tell('start', '"ready"');
    await expect.poll(came).toBe(before + 10);
    expect(existsSync('/sys/class/net/vif7.0')).toBe(false);
    expect(ip('-o', 'link', 'show', 'dev', 'web0')).toMatch(/master br0 .*alias of an administrator/);
    ip('link', 'set', 'web0', 'down');
    ip('link', 'set', 'web0', 'name', 'vif7.0');
    ip('link', 'set', 'vif7.0', 'up');
  });

  it('go with their vif, and the manager forgets them', async () => {
    const from = manager.lines.length;
    await store.rm('/local/domain/0/backend/vif/7/0');
    await manager.until(from, 'forgot vif7.0', 'forgot vif7.0.q1');
    await expect.poll(() => existsSync('/sys/class/net/vif7.0')).toBe(false);
  });

  it('are made anew for a vif that comes again, and stored again', async () => {
    const from = manager.lines.length;
    await createVif(store, { domid: 7, handle: 0, mac: GUEST_MAC });
    await manager.until(from, 'kept vif7.0');
    expect(existsSync('/sys/class/net/vif7.0')).toBe(true);
  });

  it('are ignored when their device was deleted while no backend ran', async () => {
    await kill();
    ip('link', 'delete', 'vif7.0');
    await manager.tell('start', 'kept vif7.0', '"ready"');
    expect(existsSync('/sys/class/net/vif7.0')).toBe(true);
  });
}

if (missing !== undefined) it.skip(`kept taps need ${missing}: npm run build`, () => {});
else if (!python) it.skip('kept taps need python3, which passes descriptors', () => {});
else inOwnNetwork(import.meta.url, () => describe('taps that a service manager keeps open', runTests));
