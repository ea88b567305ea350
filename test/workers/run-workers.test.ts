/** `vifd run --workers` with real processes on xensim: guests keep their TCP connections, whatever is killed. */
import { existsSync, readdirSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { jsonLine } from '../../lib/text.js';
import { until } from '../../worlds/processes/until.js';
import { OutputSchema } from '../cli/schemas.js';
import { inOwnNetwork } from '../own-network.js';
import { missing, WorkersWorld } from './workers-world.js';

/** The handles of the simulated Xen that a process has, by their files. */
function handlesOf(pid: number): string[] {
  const files = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
  return [...new Set(files)].filter((file) => /\/session-\d+$/.test(file));
}

function runTests(): void {
  let world: WorkersWorld;
  beforeEach(async () => {
    world = await WorkersWorld.open();
  });
  afterEach(async () => {
    await world[Symbol.asyncDispose]();
  });
  const sockets = () => readdirSync(world.runtime).filter((name) => name.startsWith('worker-'));

  it('serves two guests by two workers, and another one by the standby when one is killed', async () => {
    const vifd = await world.run('2');
    await vifd.until('ready');
    await world.plug(1);
    await world.plug(2);
    const [one, two] = [await world.serverOf(1), await world.serverOf(2)];
    expect(one).not.toBe(two);
    expect(world.workers).toEqual(expect.arrayContaining([one, two]));
    await vifd.until('worker-started', 3);
    expect(world.workers.length).toBe(3);
    await world.flows();
    // So the guests' event channels stay bound when a worker dies.
    const shared = (pid: number) => handlesOf(pid).filter((handle) => handlesOf(vifd.pid).includes(handle));
    expect([shared(one).length, shared(two).length]).toEqual([1, 1]);
    const [channel] = shared(one);

    process.kill(one, 'SIGKILL');
    const [tookOver] = await vifd.until('took-over');
    expect(handlesOf(Number(tookOver.pid))).toContain(channel);
    expect(vifd.of('worker-died')).toMatchObject([{ pid: one, how: 'SIGKILL', vifs: ['vif1.0'] }]);
    expect(tookOver).toMatchObject({ from: one, vifs: ['vif1.0'] });
    await world.flows();
    expect([await world.serverOf(1), await world.serverOf(2)]).toEqual([tookOver.pid, two]);
    expect(world.violations).toEqual([]);
    // A new standby stands by.
    await vifd.until('worker-started', 4);

    const shown = await world.verb('show', '--json');
    expect(new OutputSchema('show').faultsOf(shown)).toEqual([]);
    const { vifs } = JSON.parse(shown);
    expect(vifs).toMatchObject([
      { id: 'vif1.0', state: 'connected', worker: { pid: tookOver.pid }, connection: { resumes: 1 } },
      { id: 'vif2.0', state: 'connected', worker: { pid: two }, connection: { resumes: 0 } },
    ]);
    // The sockets of three workers, and that of `vifd show`: for vifd's user alone, as the directory.
    expect(sockets().length).toBe(3);
    for (const [name, mode] of [
      ...[...sockets(), 'socket'].map((one) => [one, 0o600] as const),
      ['.', 0o700] as const,
    ]) {
      const stats = statSync(join(world.runtime, name));
      expect([name, stats.mode & 0o777, stats.uid]).toEqual([name, mode, process.getuid!()]);
    }
    const { processes } = JSON.parse(shown);
    const use = { memoryBytes: expect.any(Number), load: expect.any(Number) };
    expect(processes).toHaveLength(4);
    expect(processes).toEqual(
      expect.arrayContaining([
        { role: 'supervisor', pid: vifd.pid, vifs: [], ...use },
        { role: 'worker', pid: tookOver.pid, vifs: ['vif1.0'], ...use },
        { role: 'worker', pid: two, vifs: ['vif2.0'], ...use },
        { role: 'standby', pid: vifd.of('worker-started').at(-1)?.pid, vifs: [], ...use },
      ]),
    );
    for (const { memoryBytes } of processes) expect(memoryBytes / 1e6).toBeGreaterThan(5);
    expect(await world.verb('show')).toMatch(
      new RegExp(`^PROCESS +ROLE +MEMORY +CPU +VIFS\n${vifd.pid} +supervisor `),
    );
    expect(await world.verb('list')).toMatch(
      new RegExp(`^VIF .* WORKER\nvif1\\.0 .* ${tookOver.pid}\nvif2\\.0 .* ${two}\n$`),
    );
    expect(await world.verb('show', 'vif2.0')).toContain(`process ${two}`);
    expect(await world.verb('show', 'vif9.0')).toContain('vif9.0 is not served');
    expect(await world.verb('detach', 'vif1.0')).toContain('vif1.0 has its node in xenstore');

    await vifd.end('SIGTERM');
    expect(world.workers).toEqual([]);
    expect(sockets()).toEqual([]);
    expect(vifd.of('detached').map(({ why }) => why)).toEqual(['shutdown', 'shutdown']);
  }, 120_000);

  it('serves while there is no supervisor, and continues under the next one', async () => {
    const first = await world.run('2');
    await world.plug(1);
    await world.plug(2);
    await first.until('worker-started', 3);
    const before = [await world.serverOf(1), await world.serverOf(2)];
    await first.end('SIGKILL');
    await world.flows();
    expect(world.workers).toEqual(expect.arrayContaining(before));
    expect(await world.verb('check')).toMatch(/warn +workers +3 processes without a vifd run: /);

    const second = await world.run('2');
    await second.until('ready');
    expect(await world.verb('check')).toMatch(new RegExp(`ok +workers +3 processes of ${second.pid}\n`));
    // In the order in which their workers respond.
    expect(second.of('ready')).toMatchObject([
      { vifs: expect.arrayContaining(['vif1.0', 'vif2.0']), notServed: [] },
    ]);
    await world.flows();
    expect([await world.serverOf(1), await world.serverOf(2)]).toEqual(before);
    expect(first.of('attached').length + second.of('attached').length).toBe(2);

    // The next supervisor has all that the first one had: it notices a death, and has the taps.
    process.kill(before[0], 'SIGKILL');
    await second.until('took-over');
    await world.flows();
    await world.plug(3);
    await world.unplug(2);
    await world.flows();
    expect(world.violations).toEqual([]);
    await second.end('SIGTERM');
    expect(await until(() => world.workers.length === 0, 1000)).toBe(true);
  }, 120_000);

  it('cleans up under the next supervisor what was removed while there was none', async () => {
    const first = await world.run('2');
    await world.plug(1);
    await world.plug(2);
    await first.until('worker-started', 3);
    const two = await world.serverOf(2);
    await first.end('SIGKILL');
    await world.unplug(2);
    // The worker has seen its guest go, and nobody watches the backend's nodes.
    expect(existsSync('/sys/class/net/vif2.0')).toBe(true);
    await world.flows();

    const second = await world.run('2');
    await second.until('ready');
    expect(await until(() => !existsSync('/sys/class/net/vif2.0'), 5000)).toBe(true);
    // The worker without vifs stands by, or ends if there is a standby already.
    const { processes, vifs } = JSON.parse(await world.verb('show', '--json'));
    expect(vifs).toMatchObject([{ id: 'vif1.0', state: 'connected' }]);
    const left = processes.filter(({ pid }: { pid: number }) => pid === two);
    expect(left.map(({ role, vifs: its }: { role: string; vifs: string[] }) => [role, its])).toEqual(
      left.length === 0 ? [] : [['standby', []]],
    );
    await world.flows();
    await world.plug(3);
    await world.flows();
    expect(world.violations).toEqual([]);
    await second.end('SIGTERM');
    expect(world.workers).toEqual([]);
  }, 120_000);

  it('has no worker beside a vifd that serves all vifs itself', async () => {
    const first = await world.run('2');
    await world.plug(1);
    await world.plug(2);
    await first.until('worker-started', 3);
    await first.end('SIGKILL');
    await world.flows();
    const second = await world.run('0');
    await second.until('attached', 2);
    expect([world.workers, sockets()]).toEqual([[], []]);
    await second.until('ready');
    await world.flows();
    expect([await world.serverOf(1), await world.serverOf(2)]).toEqual([second.pid, second.pid]);
    expect(world.violations).toEqual([]);
  }, 120_000);

  it('kills a worker that hangs, and parks a vif whose workers die again and again', async () => {
    const vifd = await world.run('2');
    await world.plug(1);
    await world.plug(2);
    await vifd.until('worker-started', 3);
    const one = await world.serverOf(1);
    process.kill(one, 'SIGSTOP');
    await vifd.until('took-over');
    expect(vifd.of('worker-died')).toMatchObject([
      { pid: one, how: expect.stringMatching(/^SIGKILL: its event loop has not run for \d\.\d s$/) },
    ]);
    await world.flows();

    for (let deaths = 2; deaths <= 3; deaths++) {
      process.kill(await world.serverOf(1), 'SIGSEGV');
      await vifd.until('worker-died', deaths);
      if (deaths < 3) await vifd.until('took-over', deaths);
    }
    expect(await vifd.until('parked')).toMatchObject([{ vif: 'vif1.0', pauseMs: 30_000 }]);
    const schema = new OutputSchema('run-event');
    for (const line of vifd.lines) expect([line, schema.faultsOf(jsonLine(line))]).toEqual([line, []]);
    const { echo } = world.guests.get(2)!;
    expect(await echo.returns()).toBe(true);
    const shown = await world.verb('show', 'vif1.0', '--json');
    expect(new OutputSchema('show').faultsOf(shown)).toEqual([]);
    const { vifs } = JSON.parse(shown);
    expect(vifs).toMatchObject([
      { id: 'vif1.0', state: 'stopped', reason: expect.stringContaining('is parked') },
    ]);
    expect(vifs[0].parked.retryMs).toBeGreaterThan(15_000);
    expect(vifs[0].parked.retryMs).toBeLessThan(30_000);
    expect(await world.verb('show', 'vif1.0')).toMatch(/parked +tried again in [12]\d s/);
    expect(await world.verb('list')).toMatch(/parked, tried again in [12]\d s\n(?:.*\n)*vif1\.0 is parked: /);
    const list = new OutputSchema('list');
    expect(list.faultsOf(await world.verb('list', '--json'))).toEqual([]);
    expect(list.unseen).toEqual([]);
    await vifd.until('attached', 5, 60_000);
    await world.flows();
  }, 180_000);
}

if (missing === undefined) inOwnNetwork(import.meta.url, runTests);
else
  describe('vifd run --workers', () => {
    it.skip(`needs ${missing}: npm run build`, () => {});
  });
