/** What a worker has given up: as the kernel has it of workers that serve a guest, and by trying it. */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ROOT } from '../../worlds/places.js';
import { inOwnNetwork } from '../own-network.js';
import { missing, WorkersWorld } from './workers-world.js';

const CONFINE = join(ROOT, 'dist/host/confine.js');
/** CAP_NET_ADMIN and CAP_BPF (linux/capability.h). */
const KEPT = (1n << 12n) | (1n << 39n);

function statusOf(pid: number | 'self', field: string): string {
  const [, value] = new RegExp(`^${field}:\\s*(\\S+)$`, 'm').exec(
    readFileSync(`/proc/${pid}/status`, 'latin1'),
  )!;
  return value;
}

function runTests(): void {
  let world: WorkersWorld;
  beforeEach(async () => {
    world = await WorkersWorld.open();
  });
  afterEach(async () => {
    await world[Symbol.asyncDispose]();
  });

  it('serves a guest without the capabilities of its supervisor, and passes it on to a worker like that', async () => {
    const vifd = await world.run('1');
    await vifd.until('ready');
    await world.plug(1);
    await vifd.until('worker-started', 2);
    const expectConfined = (pid: number) => {
      for (const field of ['CapPrm', 'CapEff', 'CapInh', 'CapBnd'])
        expect([field, BigInt(`0x${statusOf(pid, field)}`) & ~KEPT]).toEqual([field, 0n]);
      expect(statusOf(pid, 'CapAmb')).toMatch(/^0+$/);
      expect([statusOf(pid, 'NoNewPrivs'), statusOf(pid, 'Seccomp')]).toEqual(['1', '2']);
    };
    expect(world.workers).toHaveLength(2);
    for (const pid of world.workers) expectConfined(pid);
    // The supervisor itself has what it had.
    expect(statusOf(vifd.pid, 'CapEff')).toBe(statusOf('self', 'CapEff'));
    await world.flows();
    process.kill(await world.serverOf(1), 'SIGKILL');
    await vifd.until('took-over');
    await world.flows();
    for (const pid of world.workers) expectConfined(pid);
    expect(vifd.of('error')).toEqual([]);
  });
}

inOwnNetwork(import.meta.url, () =>
  describe.skipIf(missing !== undefined)('a worker of `vifd run`', runTests),
);

/** Runs a program in a confined process. @returns what it writes, as JSON. */
async function confined(body: string): Promise<unknown> {
  const program = `
    import { spawnSync } from 'node:child_process';
    import { readFileSync } from 'node:fs';
    import { confineWorker } from ${JSON.stringify(CONFINE)};
    try { confineWorker(); } catch (error) { if (!/capabilities/.test(error.message)) throw error; }
    const failure = (call) => { try { return call().error?.code; } catch (error) { return error.code; } };
    console.log(JSON.stringify(${body}));`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program]);
  return JSON.parse(stdout);
}

describe.skipIf(!existsSync(CONFINE))('a confined process', () => {
  it('starts no other program', async () => {
    expect(await confined("failure(() => spawnSync('true'))")).toBe('EPERM');
  });

  it('sends signals to itself alone', async () => {
    const others = [process.pid, 1, -1];
    const tries = others.map((pid) => `failure(() => process.kill(${pid}, 'SIGCONT'))`);
    expect(await confined(`[${tries}, failure(() => process.kill(process.pid, 'SIGCONT'))]`)).toEqual([
      ...others.map(() => 'EPERM'),
      null,
    ]);
  });

  it('is confined with all of its threads', async () => {
    const seccomp = `readdirSync('/proc/self/task').map((id) =>
      /^Seccomp:\\s*(\\d)/m.exec(readFileSync('/proc/self/task/' + id + '/status', 'latin1'))[1])`;
    const seen = (await confined(
      `((readdirSync) => ${seccomp})(process.getBuiltinModule('node:fs').readdirSync)`,
    )) as string[];
    expect(seen.length).toBeGreaterThan(1);
    expect(new Set(seen)).toEqual(new Set(['2']));
  });

  it('makes threads and sockets of the kinds that vifd uses', async () => {
    const dgram = "process.getBuiltinModule('node:dgram')";
    const net = "process.getBuiltinModule('node:net')";
    const worker = `new Promise((resolve) => {
      const { Worker } = process.getBuiltinModule('node:worker_threads');
      const program = 'import { parentPort } from "node:worker_threads"; parentPort.postMessage(1)';
      new Worker(new URL('data:text/javascript,' + program)).once('message', resolve);
    })`;
    const bound = (make: string) =>
      `new Promise((resolve) => ${make}.once('error', ({ code }) => resolve(code)).once('listening', function () { this.close(); resolve('ok'); }))`;
    expect(
      await confined(`await Promise.all([${worker},
        ${bound(`${net}.createServer().listen('\\0vifd-' + process.pid)`)},
        ${bound(`${dgram}.createSocket('udp6').bind(0)`)}])`),
    ).toEqual([1, 'ok', 'EPERM']);
  });
});

describe('the report of a worker that is not confined', () => {
  it('names the capabilities that it has', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'vifd-status-'));
    writeFileSync(join(directory, 'status'), 'Name:\tnode\nCapPrm:\t0000000000201000\n');
    const program = `
      import { confineWorker } from ${JSON.stringify(CONFINE)};
      try { confineWorker(${JSON.stringify(join(directory, 'status'))}); } catch (error) { console.log(error.code, error.message); }`;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program]);
    expect(stdout).toMatch(/^ERR_STATE The worker \d+ has the capabilities 21 /);
    rmSync(directory, { recursive: true });
  });
});
