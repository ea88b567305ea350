/** A supervisor and its fleet, with workers that are no processes, on the model's clock. */
import { fstatSync, openSync } from 'node:fs';
import { beforeEach, describe, expect, it } from 'vitest';
import type { WorkerCount } from '../../lib/daemon/option-table.js';
import { VifdError } from '../../lib/errors.js';
import type { Admission, VifPlace } from '../../lib/netback/vif/directory.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { ChannelStore } from '../../lib/workers/channel-store.js';
import { Fleet } from '../../lib/workers/fleet.js';
import { LINK_PROTOCOL } from '../../lib/workers/messages.js';
import type { Scheduling } from '../../lib/workers/process-stat.js';
import { Supervisor } from '../../lib/workers/supervisor.js';
import type { Clock } from '../../lib/xen/seam.js';
import { FakeWorker, place, RecordedLog } from './fake-workers.js';

class Supervised {
  readonly hypervisor = new ModelHypervisor();
  readonly workers: FakeWorker[] = [];
  readonly recorded = new RecordedLog();
  readonly unserved: string[] = [];
  /** Parked vifs whose nodes were removed. */
  readonly removed = new Set<string>();
  readonly memoryBytes = new Map<number, number>();
  readonly channels = new ChannelStore();
  /** Of all workers. */
  scheduling: Scheduling | undefined;
  readonly fleet: Fleet;
  readonly supervisor: Supervisor;
  /** How long this process has not run, as after SIGSTOP: time passed, and no timer fired. */
  sleptMs = 0;
  oomKills = 0;
  mapsFrames = false;
  /** Called with each worker that is started. Default: it says hello. @throws to refuse the start. */
  onStart = (worker: FakeWorker) => worker.hello();

  constructor(count: WorkerCount, admits?: (at: VifPlace) => Promise<Admission | undefined>) {
    const model = this.hypervisor.open(0).clock;
    const clock: Clock = {
      now: () => model.now() + this.sleptMs,
      after: (ms, fire) => model.after(ms, fire),
    };
    const { log } = this.recorded;
    this.fleet = new Fleet({
      clock,
      log,
      memoryOf: (pid) => this.memoryBytes.get(pid),
      schedulingOf: () => this.scheduling,
      start: async (reports) => {
        const worker = new FakeWorker(100 + this.workers.length, reports);
        this.workers.push(worker);
        this.onStart(worker);
        return worker.start;
      },
      onAttached: (vif) => this.supervisor.attached(vif),
      onGone: (worker, vif) => this.supervisor.gone(worker, vif),
      onDied: (worker) => this.supervisor.died(worker),
    });
    const isMapping = () => this.mapsFrames;
    this.supervisor = new Supervisor({
      get mapsFrames() {
        return isMapping();
      },
      clock,
      log,
      workers: count,
      fleet: this.fleet,
      oomKills: () => this.oomKills,
      channels: this.channels,
      isThere: async ({ id }) => !this.removed.has(id),
      descriptorsOf: () => new Map(),
      onUnserved: ({ id }, left) => this.unserved.push(`${id}${left ? ' and what is left of it' : ''}`),
      ...(admits === undefined ? {} : { admits }),
    });
  }

  /** Runs all that does not wait for time. */
  async settle(): Promise<void> {
    for (let i = 0; i < 5; i++) {
      await new Promise(setImmediate);
      await this.hypervisor.settle();
    }
  }

  /** Lets time pass in small steps, while the workers that live report that. */
  async advance(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 250) {
      for (const worker of this.workers) worker.reports.onAlive(0);
      await this.hypervisor.advance(Math.min(250, ms - passed));
      await this.settle();
    }
  }

  async serve(...domids: number[]): Promise<void> {
    for (const domid of domids) expect(await this.found(domid)).toBe('served');
  }

  async found(domid: number): Promise<Admission> {
    const found = this.supervisor.found(place(domid), false);
    found.catch(() => undefined);
    await this.settle();
    return found;
  }

  /** The vifs of each worker that runs, by its pid. */
  get divided(): Record<number, string[]> {
    const live = [...this.fleet.workers].map(({ pid }) => this.workers[pid - 100]);
    return Object.fromEntries(live.map(({ pid, served }) => [pid, served]));
  }

  worker(pid: number): FakeWorker {
    return this.workers[pid - 100];
  }
}

describe('a supervisor', () => {
  let world: Supervised;
  beforeEach(() => {
    world = new Supervised(2);
  });

  it('divides vifs evenly among its workers, and prefers the one with the least load', async () => {
    await world.serve(1, 2);
    expect(world.divided).toEqual({ 100: ['vif1.0'], 101: ['vif2.0'] });
    world.worker(100).reports.onAlive(0.9);
    world.worker(101).reports.onAlive(0.1);
    await world.serve(3, 4);
    expect(world.divided).toEqual({ 100: ['vif1.0', 'vif4.0'], 101: ['vif2.0', 'vif3.0'] });
  });

  it('gives the vifs of a worker that died to the standby, once the process is gone, and starts another standby', async () => {
    await world.serve(1, 2);
    world.fleet.begin();
    await world.settle();
    expect(world.recorded.take().at(-1)).toBe('102 started as standby');
    const dying = world.worker(100);
    dying.killable = false;
    dying.loseLink();
    await world.settle();
    // The dying process may still have the event channels bound.
    expect(world.worker(102).heard).toEqual([]);
    expect(world.supervisor.isServed('vif1.0')).toBe(true);
    expect(world.supervisor.vifs.get('vif1.0')).toMatchObject({ state: 'detached' });
    await world.advance(10);
    dying.exit('SIGSEGV');
    await world.settle();
    expect(world.recorded.take()).toEqual([
      '100 died, SIGSEGV: vif1.0',
      '102 took over from 100: vif1.0',
      '103 started as standby',
    ]);
    expect(world.recorded.tookOvers[0].gapMs).toBe(10);
    expect(world.divided).toEqual({ 101: ['vif2.0'], 102: ['vif1.0'], 103: [] });
    expect(world.unserved).toEqual([]);
  });

  it('gives a vif to the next worker while the process is still there, if it stores nothing more and its channels are kept', async () => {
    await world.serve(1, 3, 2, 4);
    world.fleet.begin();
    await world.settle();
    expect(world.divided[100]).toEqual(['vif1.0', 'vif2.0']);
    const ports = [{ domid: 1, remotePort: 5, port: 9 }];
    const kept = { descriptor: openSync('/dev/null', 'r'), ports };
    world.channels.own('vif1.0', kept);
    const dying = world.worker(100);
    dying.killable = false;
    dying.die();
    await world.settle();
    // The page says that it dies, and the kernel does not yet.
    expect(dying.signals).toEqual(['SIGKILL']);
    expect(world.worker(102).heard).toEqual([]);
    dying.exiting = true;
    await world.advance(1);
    expect(world.worker(102).heard).toEqual(['found vif1.0']);
    expect(world.worker(102).after).toEqual([{ from: 100, channels: kept }]);
    // The worker has a duplicate, and keeps its own from then on.
    expect(world.channels.has('vif1.0')).toBe(false);
    expect(() => fstatSync(kept.descriptor)).toThrow(expect.objectContaining({ code: 'EBADF' }));
    dying.exit('SIGKILL');
    await world.settle();
    expect(world.worker(102).heard).toEqual(['found vif1.0', 'found vif2.0']);
    expect(world.worker(102).after[1]).toEqual({ from: undefined, channels: undefined });
  });

  it('gives a vif whose frames are mapped to the next worker once the process is gone, with its channels', async () => {
    world.mapsFrames = true;
    await world.serve(1);
    world.fleet.begin();
    await world.settle();
    const kept = { descriptor: openSync('/dev/null', 'r'), ports: [{ domid: 1, remotePort: 5, port: 9 }] };
    world.channels.own('vif1.0', kept);
    const dying = world.worker(100);
    dying.killable = false;
    dying.exiting = true;
    dying.die();
    await world.advance(1);
    expect(dying.signals).toEqual(['SIGKILL']);
    expect(world.worker(101).heard).toEqual([]);
    dying.exit('SIGKILL');
    await world.settle();
    expect(world.worker(101).heard).toEqual(['found vif1.0']);
    expect(world.worker(101).after).toEqual([{ from: undefined, channels: kept }]);
  });

  it('closes channels of a vif that ends, or that is served anew', async () => {
    const own = () => {
      const descriptor = openSync('/dev/null', 'r');
      world.channels.own('vif1.0', { descriptor, ports: [] });
    };
    own();
    await world.serve(1);
    expect(world.channels.has('vif1.0')).toBe(false);
    expect(world.worker(100).after).toEqual([{ from: undefined, channels: undefined }]);
    own();
    world.worker(100).vifs.delete('vif1.0');
    world.worker(100).reports.onGone('vif1.0');
    expect(world.channels.has('vif1.0')).toBe(false);
  });

  it('kills a worker that shows that it dies, since that may not be true, and gives its vifs to the standby once it is gone', async () => {
    await world.serve(1);
    world.fleet.begin();
    await world.settle();
    const dying = world.worker(100);
    dying.killable = false;
    dying.die();
    await world.settle();
    expect(dying.signals).toEqual(['SIGKILL']);
    expect(world.supervisor.vifs.get('vif1.0')).toMatchObject({ state: 'detached' });
    expect(world.worker(101).heard).toEqual([]);
    dying.exit('SIGSEGV');
    await world.settle();
    expect(world.divided[101]).toEqual(['vif1.0']);
    expect(dying.signals).toEqual(['SIGKILL']);
  });

  it('counts a gap until the next worker has attached, and not until its look at the vif ends', async () => {
    await world.serve(1);
    let look: (admission: Admission) => void = () => undefined;
    world.onStart = (worker) => {
      worker.admission = () => new Promise((resolve) => (look = resolve));
      worker.hello();
    };
    world.worker(100).exit('SIGKILL');
    await world.settle();
    await world.advance(20);
    world.worker(101).reports.onAttached('vif1.0');
    await world.advance(30);
    look('served');
    await world.settle();
    expect(world.recorded.tookOvers).toMatchObject([{ pid: 101, gapMs: 20 }]);
    // The guest has closed meanwhile, and the next worker attaches to nothing.
    world.worker(101).exit('SIGKILL');
    await world.settle();
    await world.advance(7);
    look('served');
    await world.settle();
    expect(world.recorded.tookOvers[1]).toMatchObject({ pid: 102, gapMs: 7 });
  });

  it('hears what a worker has sent before it died', async () => {
    await world.serve(1, 3, 2);
    const dying = world.worker(100);
    expect(dying.served).toEqual(['vif1.0', 'vif2.0']);
    dying.rest = () => dying.reports.onGone('vif2.0');
    dying.die();
    await world.settle();
    expect(world.recorded.tookOvers.map(({ vifs }) => vifs)).toEqual([['vif1.0']]);
    expect(world.unserved).toEqual(['vif2.0']);
  });

  it('has a vif served by the next worker if the first one dies right behind its response', async () => {
    world.onStart = (worker) => {
      if (worker.pid === 100)
        worker.found = () => {
          const served = Promise.resolve('served' as const);
          worker.exit('SIGSEGV');
          return served;
        };
      worker.hello();
    };
    await world.serve(1);
    expect(world.divided).toMatchObject({ 101: ['vif1.0'] });
    expect(world.supervisor.workerOf('vif1.0')?.pid).toBe(101);
  });

  it('needs another worker if the standby dies while it waits for the end of the first one', async () => {
    await world.serve(1);
    world.fleet.begin();
    await world.settle();
    const dying = world.worker(100);
    dying.killable = false;
    dying.loseLink();
    await world.settle();
    world.worker(101).exit('SIGKILL');
    dying.exit('SIGKILL');
    await world.settle();
    expect(world.supervisor.workerOf('vif1.0')?.pid).toBe(102);
    expect(world.recorded.take()).toContain('101 died, SIGKILL: ');
  });

  it('asks the next worker once if the standby dies while it takes over', async () => {
    await world.serve(1);
    world.onStart = (worker) => {
      let looks = 0;
      // As a worker does that looks at the vif already.
      worker.admission = () => {
        if (looks++ > 0) throw new VifdError('ERR_STATE', 'vif1.0 is being looked at');
        return worker.pid === 101
          ? new Promise(() => undefined)
          : new Promise((resolve) => setImmediate(() => resolve('served')));
      };
      worker.hello();
    };
    world.fleet.begin();
    await world.settle();
    world.worker(100).exit('SIGKILL');
    await world.settle();
    world.worker(101).exit('SIGKILL');
    await world.settle();
    await world.settle();
    expect(world.worker(102).heard).toEqual(['found vif1.0']);
    expect(world.unserved).toEqual([]);
    expect(world.supervisor.workerOf('vif1.0')?.pid).toBe(102);
    expect(world.recorded.tookOvers).toMatchObject([{ pid: 102, from: 100, vifs: ['vif1.0'] }]);
  });

  it('needs another worker if the next one dies right behind its response', async () => {
    await world.serve(1);
    world.onStart = (worker) => {
      worker.hello();
      if (worker.pid !== 101) return;
      worker.admission = () => {
        // Its end is seen before the supervisor continues with the response.
        queueMicrotask(() => queueMicrotask(() => worker.die()));
        return 'served';
      };
    };
    world.fleet.begin();
    await world.settle();
    world.worker(100).exit('SIGKILL');
    await world.settle();
    expect(world.divided).toMatchObject({ 102: ['vif1.0'] });
    expect(world.supervisor.workerOf('vif1.0')?.pid).toBe(102);
  });

  it('starts a process for the vifs where there is no standby', async () => {
    await world.serve(1, 2, 3);
    world.worker(100).exit('SIGKILL');
    await world.settle();
    expect(world.divided).toMatchObject({ 101: ['vif2.0'], 102: ['vif1.0', 'vif3.0'] });
  });

  it('serves a vif by the next worker if the first dies over it', async () => {
    world.onStart = (worker) => {
      if (worker.pid === 100) worker.admission = () => new Promise(() => undefined);
      worker.hello();
    };
    const found = world.supervisor.found(place(1), false);
    await world.settle();
    world.worker(100).exit('SIGSEGV');
    await world.settle();
    expect(await found).toBe('served');
    expect(world.divided).toMatchObject({ 101: ['vif1.0'] });
  });

  it('waits in small steps for a lock that a dying process still has, and not for ever', async () => {
    let locked = 3;
    world.onStart = (worker) => {
      worker.admission = () => {
        if (locked-- > 0) throw new VifdError('ERR_RUNNING', 'Another vifd (process 99) serves vif1.0.');
        return 'served';
      };
      worker.hello();
    };
    const found = world.supervisor.found(place(1), false);
    await world.settle();
    await world.hypervisor.advance(3);
    await world.settle();
    expect(await found).toBe('served');
    expect(world.worker(100).heard.length).toBe(4);

    locked = Number.POSITIVE_INFINITY;
    const refused = expect(world.supervisor.found(place(2), false)).rejects.toThrow(/process 99/);
    await world.advance(1250);
    await refused;
    expect(world.supervisor.isServed('vif2.0')).toBe(false);
  });

  it('passes changes on to the workers that they concern, also those that come while a worker looks', async () => {
    await world.serve(1, 2);
    const [one, two] = world.workers;
    const { path } = place(1);
    world.supervisor.changed(`${path}/online`, place(1));
    world.supervisor.changed('/local/domain/0/backend/vif/2', { domid: 2 });
    world.supervisor.changed('/local/domain/0/backend/vif', undefined);
    world.supervisor.domainGone(2);
    world.supervisor.storeReturned();
    expect(one.heard.slice(1)).toEqual([`changed ${path}/online`, 'changed all', 'store returned']);
    expect(two.heard.slice(1)).toEqual([
      'changed /local/domain/0/backend/vif/2',
      'changed all',
      'domain 2 gone',
      'store returned',
    ]);
    let read: (admission: Admission) => void = () => undefined;
    one.admission = () => new Promise((resolve) => (read = resolve));
    const found = world.supervisor.found(place(3), false);
    await world.settle();
    world.supervisor.changed(`${place(3).path}/state`, place(3));
    read('served');
    await found;
    expect(one.heard.at(-1)).toBe(`changed ${place(3).path}/state`);
  });

  it('looks again at a vif that has ended, and dismisses a worker without vifs', async () => {
    await world.serve(1, 2);
    world.fleet.begin();
    await world.settle();
    world.worker(101).reports.onGone('vif1.0');
    expect(world.supervisor.isServed('vif1.0')).toBe(true);
    world.worker(100).reports.onGone('vif1.0');
    await world.settle();
    expect(world.unserved).toEqual(['vif1.0']);
    expect(world.supervisor.isServed('vif1.0')).toBe(false);
    expect(world.divided).toEqual({ 101: ['vif2.0'], 102: [] });
    await world.serve(3);
    expect(world.divided).toEqual({ 101: ['vif2.0'], 102: ['vif3.0'], 103: [] });
  });

  it('reports a vif whose worker takes long to look at it, and the end of that', async () => {
    let respond = (_: Admission) => {};
    const slow = new Promise<Admission>((resolve) => {
      respond = resolve;
    });
    world.onStart = (worker) => {
      worker.admission = () => slow;
      worker.hello();
    };
    const found = world.supervisor.found(place(1), false);
    await world.advance(4750);
    expect(world.supervisor.faults).toEqual([]);
    await world.advance(500);
    expect(world.supervisor.faults).toMatchObject([{ code: 'ERR_WORKER', vif: 'vif1.0' }]);
    expect(world.recorded.take().join()).toContain('(process 100) has not responded for 5 s');
    respond('served');
    expect(await found).toBe('served');
    expect(world.supervisor.faults).toEqual([]);
    expect(world.recorded.take().join()).toContain('mended');
  });

  it('does not report a vif whose worker responds about others first', async () => {
    const one = new Supervised(1);
    const responds: Array<(admission: Admission) => void> = [];
    one.onStart = (worker) => {
      worker.admission = () => new Promise<Admission>((resolve) => responds.push(resolve));
      worker.hello();
    };
    const found = [1, 2].map((domid) => one.supervisor.found(place(domid), false));
    await one.advance(4000);
    responds[0]!('served');
    await found[0];
    await one.advance(4000);
    expect(one.supervisor.faults).toEqual([]);
    await one.advance(1250);
    expect(one.supervisor.faults).toMatchObject([{ code: 'ERR_WORKER', vif: 'vif2.0' }]);
    responds[1]!('served');
    expect(await found[1]).toBe('served');
  });

  it('has another standby for the next death, although a vif of the first one is not served yet', async () => {
    await world.serve(1, 2);
    world.fleet.begin();
    await world.settle();
    world.worker(102).admission = () => new Promise(() => {});
    world.worker(100).exit('SIGKILL');
    await world.advance(1500);
    expect(world.fleet.standby?.pid).toBe(103);
    world.worker(101).exit('SIGKILL');
    await world.settle();
    expect(world.supervisor.workerOf('vif2.0')?.pid).toBe(103);
  });

  it('leaves a vif to the discovery that the next worker does not serve', async () => {
    await world.serve(1, 2);
    world.onStart = (worker) => {
      worker.admission = () => 'none';
      worker.hello();
    };
    world.worker(100).exit('SIGKILL');
    await world.settle();
    expect(world.unserved).toEqual(['vif1.0 and what is left of it']);
    world.worker(101).exit('SIGKILL');
    world.onStart = () => {
      throw new VifdError('ERR_WORKER', 'no memory');
    };
    await world.settle();
    expect(world.supervisor.domids()).toEqual(new Set());
  });

  it('kills a worker that is silent, but not after it was stopped itself', async () => {
    await world.serve(1, 2);
    // As after SIGCONT: its timers fire before it reads what the workers sent meanwhile.
    world.sleptMs = 5000;
    await world.hypervisor.advance(250);
    expect(world.workers.flatMap(({ signals }) => signals)).toEqual([]);
    world.fleet.begin();
    await world.settle();
    const silence = async (ms: number) => {
      for (let passed = 0; passed < ms; passed += 100) {
        world.worker(101).reports.onAlive(0);
        await world.hypervisor.advance(100);
        await world.settle();
      }
    };
    await silence(700);
    expect(world.worker(100).signals).toEqual([]);
    await silence(100);
    expect(world.worker(100).signals).toEqual(['SIGKILL']);
    expect(world.worker(101).signals).toEqual([]);
    // The standby has no guest, and may be warming up.
    expect(world.worker(102).signals).toEqual([]);
    expect(world.recorded.take()).toContain(
      '100 died, SIGKILL: its event loop has not run for 0.9 s: vif1.0',
    );
    expect(world.divided).toMatchObject({ 101: ['vif2.0'], 102: ['vif1.0'] });
  });

  it('does not kill a worker that waits for a processor, for a while', async () => {
    world = new Supervised(1);
    await world.serve(1);
    const starved = world.worker(100);
    world.scheduling = { isRunnable: true, ranMs: 1000 };
    await world.hypervisor.advance(500);
    world.scheduling = { isRunnable: true, ranMs: 1040 };
    await world.hypervisor.advance(2400);
    expect(starved.signals).toEqual([]);
    starved.reports.onAlive(0);
    // A loop without an end uses what it gets.
    await world.hypervisor.advance(500);
    world.scheduling = { isRunnable: true, ranMs: 1100 };
    await world.hypervisor.advance(500);
    expect(starved.signals).toEqual(['SIGKILL']);
    await world.settle();

    const next = world.worker(101);
    next.reports.onAlive(0);
    await world.hypervisor.advance(3200);
    expect(next.signals).toEqual(['SIGKILL']);
  });

  it('kills a worker that is stopped, although it has not run', async () => {
    world = new Supervised(1);
    await world.serve(1);
    world.scheduling = { isRunnable: false, ranMs: 1000 };
    await world.hypervisor.advance(1000);
    expect(world.worker(100).signals).toEqual(['SIGKILL']);
  });

  it('hears what workers have sent while it was busy before it kills one', async () => {
    await world.serve(1);
    const worker = world.worker(100);
    await world.hypervisor.advance(550);
    // A turn of its event loop takes 0.4 s. Then its timers fire first, and what has come is received after them.
    world.sleptMs = 400;
    const receives = world.hypervisor.open(0).clock.after(50, () => worker.reports.onAlive(0));
    await world.hypervisor.advance(50);
    receives[Symbol.dispose]();
    expect(worker.signals).toEqual([]);
    // Nothing comes from then on.
    await world.hypervisor.advance(1000);
    expect(worker.signals).toEqual(['SIGKILL']);
  });

  it('replaces a worker with more memory than its vifs explain, in order and only when the standby is there', async () => {
    const MB = 1 << 20;
    await world.serve(1, 2);
    world.memoryBytes.set(100, 132 * MB).set(101, 132 * MB);
    await world.advance(2000);
    expect(world.divided).toEqual({ 100: ['vif1.0'], 101: ['vif2.0'] });

    world.onStart = () => {};
    world.fleet.begin();
    world.memoryBytes.set(100, 133 * MB).set(101, 134 * MB);
    await world.advance(2000);
    expect(world.divided).toEqual({ 100: ['vif1.0'], 101: ['vif2.0'] });
    world.recorded.take();
    world.onStart = (worker) => worker.hello();
    world.worker(102).hello();
    await world.advance(1000);
    expect(world.worker(100).heard.at(-1)).toBe('end');
    expect(world.worker(100).signals).toEqual([]);
    const why = (mb: number) => `code 0: it had ${mb} MB of memory, beyond its bound of 132 MB`;
    expect(world.recorded.take()).toEqual([
      '102 started as standby',
      `100 died, ${why(133)}: vif1.0`,
      '102 took over from 100: vif1.0',
      '103 started as standby',
    ]);
    await world.advance(1000);
    expect(world.recorded.take()).toContain(`101 died, ${why(134)}: vif2.0`);
    expect(world.divided).toEqual({ 102: ['vif1.0'], 103: ['vif2.0'], 104: [] });
    expect(world.unserved).toEqual([]);
  });

  it('kills a worker with too much memory that does not detach, and suspects a vif that makes each worker too large', async () => {
    await world.serve(1);
    world.fleet.begin();
    await world.settle();
    const large = world.worker(100);
    large.killable = false;
    world.memoryBytes.set(100, 1 << 30);
    await world.advance(1000);
    // What is found meanwhile waits for the next worker.
    large.admission = () => 'refused';
    const found = world.supervisor.found(place(1, 1), false);
    await world.advance(2000);
    expect([large.heard.filter((one) => one === 'end').length, large.signals]).toEqual([1, []]);
    large.killable = true;
    await world.advance(1250);
    expect(large.signals).toEqual(['SIGKILL']);
    expect(await found).toBe('served');
    expect([...world.supervisor.vifs.keys()].sort()).toEqual(['vif1.0', 'vif1.1']);
    for (let pid = 101; pid < 110; pid++) world.memoryBytes.set(pid, 1 << 30);
    await world.advance(10_000);
    expect(world.recorded.take()).toContain('parked vif1.0 for 30 s');
  });

  it('reports within a second a killed worker that does not end, and takes its vifs over when it has', async () => {
    await world.serve(1);
    const stuck = world.worker(100);
    stuck.killable = false;
    stuck.loseLink();
    await world.advance(900);
    expect(world.recorded.take().at(-1)).toMatch(/^ERR_WORKER The worker 100 was killed and does not end/);
    expect(world.supervisor.workerOf('vif1.0')).toBeUndefined();
    stuck.exit('SIGKILL');
    await world.settle();
    expect(world.supervisor.workerOf('vif1.0')?.pid).toBe(101);
  });

  it('finds the vif that kills its workers, parks it, and serves the others', async () => {
    world = new Supervised(1);
    const fatal = 'vif3.0';
    world.onStart = (worker) => {
      worker.admission = ({ id }) => {
        if (id === fatal) setImmediate(() => worker.exit('SIGSEGV'));
        return 'served';
      };
      worker.hello();
    };
    for (const domid of [1, 2, 3, 4, 5]) {
      void world.supervisor.found(place(domid), false);
      await world.settle();
    }
    await world.advance(250);
    expect([...world.supervisor.vifs.values()].map(({ id, state }) => `${id} ${state}`).sort()).toEqual([
      'vif1.0 connected',
      'vif2.0 connected',
      'vif3.0 stopped',
      'vif4.0 connected',
      'vif5.0 connected',
    ]);
    expect(world.supervisor.vifs.get(fatal)?.reason).toMatch(
      /^vif3\.0 is parked: each worker that served it died/,
    );
    expect(world.recorded.take().filter((line) => line.startsWith('parked'))).toEqual([
      'parked vif3.0 for 30 s',
    ]);
    expect(world.unserved).toEqual([]);
    expect(await world.found(3)).toBe('refused');
  });

  it('tries a parked vif again in a worker of its own, after pauses that double', async () => {
    await world.serve(1, 2);
    const kill = async () => {
      const pid = world.supervisor.workerOf('vif1.0')?.pid;
      world.worker(pid ?? 0).exit('SIGSEGV');
      await world.settle();
    };
    for (let i = 0; i < 3; i++) await kill();
    expect(world.recorded.take()).toContain('parked vif1.0 for 30 s');
    await world.advance(29_750);
    expect(world.unserved).toEqual([]);
    await world.advance(500);
    expect(world.unserved).toEqual(['vif1.0']);
    await world.serve(1, 3);
    // Nothing else is given to its worker meanwhile.
    expect(Object.values(world.divided)).toContainEqual(['vif1.0']);
    await kill();
    expect(world.recorded.take()).toContain('parked vif1.0 for 60 s');
    await world.advance(60_250);
    await world.serve(1);
    await world.advance(60_250);
    expect(world.recorded.take().at(-1)).toBe('mended ERR_WORKER');
    for (let i = 0; i < 2; i++) await kill();
    expect(world.recorded.lines.filter((line) => line.startsWith('parked'))).toEqual([]);
  });

  it('gives no other vif to a worker on trial, and forgets a suspicion with its vif', async () => {
    world = new Supervised(1);
    await world.serve(1);
    for (let i = 0; i < 3; i++) {
      world.worker(world.supervisor.workerOf('vif1.0')!.pid).exit('SIGSEGV');
      await world.settle();
    }
    await world.advance(30_250);
    await world.serve(1, 2);
    const workerOf = (domid: number) => world.supervisor.workerOf(place(domid).id)!;
    expect(workerOf(1)).not.toBe(workerOf(2));
    world.worker(workerOf(1).pid).reports.onGone('vif1.0');
    await world.serve(1);
    expect(workerOf(1)).toBe(workerOf(2));
  });

  it('forgets a suspicion, too, if the vif is not there any more when it is tried again', async () => {
    world = new Supervised(1);
    await world.serve(1);
    for (let i = 0; i < 3; i++) {
      world.worker(world.supervisor.workerOf('vif1.0')!.pid).exit('SIGSEGV');
      await world.settle();
    }
    await world.advance(30_250);
    world.onStart = (worker) => {
      worker.admission = () => 'none';
      worker.hello();
    };
    expect(await world.found(1)).toBe('none');
    world.onStart = (worker) => worker.hello();
    for (const worker of world.workers) worker.admission = undefined;
    await world.serve(2, 1);
    expect(world.supervisor.workerOf('vif1.0')).toBe(world.supervisor.workerOf('vif2.0'));
  });

  it('notices that a parked vif has ended, also where only its guest’s node was named, and cleans up', async () => {
    for (const named of [place(1), { domid: 1 }, undefined]) {
      world = new Supervised(1);
      await world.serve(1);
      for (let i = 0; i < 3; i++) {
        world.worker(world.supervisor.workerOf('vif1.0')!.pid).exit('SIGSEGV');
        await world.settle();
      }
      expect(await world.found(1)).toBe('refused');
      world.supervisor.changed('path', { domid: 2 });
      expect(world.unserved).toEqual([]);
      world.removed.add('vif1.0');
      world.supervisor.changed('path', named);
      expect(world.unserved.splice(0)).toEqual(['vif1.0']);
      expect(await world.found(1)).toBe('none');
      expect(world.unserved).toEqual(['vif1.0 and what is left of it']);
      expect([...world.supervisor.vifs]).toEqual([]);
      // Another vif at its place is not suspected.
      world.removed.clear();
      await world.serve(1);
    }
  });

  it('waits for the end of the process also where it divides its vifs', async () => {
    world = new Supervised(1);
    await world.serve(1, 2);
    for (let i = 0; i < 2; i++) {
      world.worker(world.supervisor.workerOf('vif1.0')!.pid).exit('SIGSEGV');
      await world.settle();
    }
    const dying = world.worker(world.supervisor.workerOf('vif1.0')!.pid);
    dying.killable = false;
    dying.loseLink();
    await world.settle();
    const heard = () => world.workers.flatMap((worker) => (worker.pid > dying.pid ? worker.heard : []));
    expect(heard()).toEqual([]);
    dying.exit('SIGSEGV');
    await world.settle();
    expect(heard().sort()).toEqual(['found vif1.0', 'found vif2.0']);
  });

  it('does not suspect vifs whose workers die seldom', async () => {
    await world.serve(1, 2);
    for (let i = 0; i < 5; i++) {
      world.worker(world.supervisor.workerOf('vif1.0')?.pid ?? 0).exit('SIGSEGV');
      await world.advance(31_000);
    }
    expect(world.supervisor.vifs.get('vif1.0')).toMatchObject({ state: 'connected' });
  });

  it('does not suspect vifs whose workers somebody else kills', async () => {
    await world.serve(1, 2);
    for (const how of ['SIGKILL', 'SIGKILL', 'SIGKILL', 'SIGTERM', 'code 0', 'SIGKILL', 'SIGKILL']) {
      world.worker(world.supervisor.workerOf('vif1.0')?.pid ?? 0).exit(how);
      await world.advance(500);
    }
    expect(world.supervisor.vifs.get('vif1.0')).toMatchObject({ state: 'connected' });
    // Of deaths that a guest may cause, those among them are still counted.
    for (const how of ['code 1', 'SIGKILL', 'SIGABRT', 'SIGKILL', 'SIGSEGV']) {
      expect(world.recorded.take().filter((line) => line.startsWith('parked'))).toEqual([]);
      world.worker(world.supervisor.workerOf('vif1.0')?.pid ?? 0).exit(how);
      await world.advance(500);
    }
    expect(world.recorded.take()).toContain('parked vif1.0 for 30 s');
    // Nor does it condemn a vif on trial.
    await world.advance(30_250);
    await world.serve(1);
    world.worker(world.supervisor.workerOf('vif1.0')?.pid ?? 0).exit('SIGKILL');
    await world.settle();
    expect(world.supervisor.vifs.get('vif1.0')).toMatchObject({ state: 'connected' });
  });

  it('gives a vif that comes while it judges a death to no worker that is not to have it', async () => {
    world = new Supervised(1);
    await world.serve(1, 2);
    for (let i = 0; i < 2; i++) {
      world.worker(world.supervisor.workerOf('vif1.0')!.pid).exit('SIGSEGV');
      await world.settle();
    }
    const dying = world.worker(world.supervisor.workerOf('vif1.0')!.pid);
    dying.killable = false;
    dying.loseLink();
    await world.settle();
    const found = world.supervisor.found(place(3), false);
    await world.settle();
    dying.exit('SIGSEGV');
    await world.settle();
    expect(await found).toBe('served');
    const served = Object.values(world.divided).flat().sort();
    expect(served).toEqual(['vif1.0', 'vif2.0', 'vif3.0']);
    expect(Object.values(world.divided).length).toBe(2);
  });

  it('suspects a vif whose workers the kernel kills because memory runs out', async () => {
    await world.serve(1);
    for (let i = 0; i < 3; i++) {
      world.oomKills += 1;
      world.worker(world.supervisor.workerOf('vif1.0')?.pid ?? 0).exit('SIGKILL');
      await world.advance(500);
    }
    expect(world.recorded.take()).toContain('parked vif1.0 for 30 s');
  });

  it('suspects a vif whose workers it has to kill itself', async () => {
    await world.serve(1);
    for (let i = 0; i < 3; i++) {
      const { pid } = world.supervisor.workerOf('vif1.0')!;
      for (let passed = 0; passed < 1500 && world.supervisor.workerOf('vif1.0')?.pid === pid; passed += 250) {
        await world.hypervisor.advance(250);
        await world.settle();
      }
    }
    expect(world.recorded.take()).toContain('parked vif1.0 for 30 s');
  });

  it('gives each guest a worker of its own with per-guest, and starts none for a vif that it does not serve', async () => {
    world = new Supervised('per-guest', async ({ domid }) => (domid === 9 ? 'refused' : undefined));
    await world.serve(1, 2);
    expect(await world.supervisor.found(place(1, 1), false)).toBe('served');
    expect(await world.found(9)).toBe('refused');
    expect(world.divided).toEqual({ 100: ['vif1.0', 'vif1.1'], 101: ['vif2.0'] });
  });

  it('with per-guest, ends a worker with its guest, also where there is no standby', async () => {
    world = new Supervised('per-guest');
    await world.serve(1);
    world.worker(100).vifs.delete('vif1.0');
    world.worker(100).reports.onGone('vif1.0');
    await world.serve(2);
    expect(world.worker(100).heard).toEqual(['found vif1.0', 'end']);
    expect(world.divided).toEqual({ 101: ['vif2.0'] });
  });

  it('continues with the workers of an earlier supervisor', async () => {
    const earlier = new FakeWorker(4711, {} as never);
    const { worker, hello } = await world.fleet.adopt(async (reports) => {
      const found = new FakeWorker(4711, reports);
      Object.assign(earlier, { reports });
      found.hello(['vif1.0', 'vif2.0']);
      return found.start;
    });
    world.supervisor.adopt(worker, [place(1), place(2)]);
    expect(hello.vifs).toEqual(['vif1.0', 'vif2.0']);
    expect(await world.found(1)).toBe('served');
    expect(world.supervisor.vifs.get('vif2.0')).toMatchObject({ state: 'connected' });
    await world.serve(3);
    expect(world.workers[0].served).toEqual(['vif3.0']);
  });

  it('ends in order: workers detach, and one that does not is killed', async () => {
    await world.serve(1, 2);
    world.worker(101).killable = false;
    world.supervisor.end();
    const ended = world.fleet.end();
    await world.settle();
    expect(world.worker(100).heard.at(-1)).toBe('end');
    world.worker(101).killable = true;
    await world.advance(3250);
    await ended;
    expect([world.worker(100).signals, world.worker(101).signals]).toEqual([[], ['SIGKILL']]);
    expect(world.recorded.take().filter((line) => line.includes('died'))).toEqual([]);
    expect(await world.found(3)).toBe('refused');
  });
});

describe('a fleet', () => {
  it('reports once that it has no standby, tries again after growing pauses, and reports the end of that', async () => {
    const world = new Supervised(1);
    world.onStart = () => {
      throw new VifdError('ERR_WORKER', 'A process cannot be started (ENOMEM).', { errno: 'ENOMEM' });
    };
    world.fleet.begin();
    await world.settle();
    await world.advance(1000);
    expect(world.recorded.take()).toEqual([
      'ERR_WORKER There is no standby, so guests of a worker that dies wait for a new process: A process cannot be started (ENOMEM).',
    ]);
    const tried = world.workers.length;
    expect(tried).toBeGreaterThan(2);
    await world.advance(60_000);
    expect(world.workers.length - tried).toBeLessThan(10);
    world.onStart = (worker) => worker.hello();
    await world.advance(31_000);
    expect(world.recorded.take()).toEqual([expect.stringMatching(/started as standby/), 'mended ERR_WORKER']);
  });

  it('replaces a standby that ends, and kills a process that does not start', async () => {
    const world = new Supervised(1);
    world.onStart = () => undefined;
    world.fleet.begin();
    await world.advance(15_000);
    expect(world.worker(100).signals).toEqual(['SIGKILL']);
    expect(world.recorded.take()[0]).toMatch(
      /ended before it could serve \(SIGKILL: it did not respond within 15 s\)/,
    );
    world.onStart = (worker) => worker.hello();
    await world.advance(1000);
    world.worker(101).exit('SIGKILL');
    await world.advance(1000);
    expect(world.recorded.take()).toEqual([
      '101 started as standby',
      'mended ERR_WORKER',
      '101 died, SIGKILL: ',
      '102 started as standby',
    ]);
  });

  it('does not use a process of another vifd that has replaced this one on the disk', async () => {
    const world = new Supervised(1);
    world.onStart = (worker) => worker.hello([], LINK_PROTOCOL + 1);
    await expect(world.supervisor.found(place(1), false)).rejects.toThrow(/vifd was replaced by 0/);
    await world.settle();
    expect(world.worker(100).heard).toEqual(['end']);
    expect([...world.fleet.workers]).toEqual([]);
  });

  it('does not start a process for each vif that waits while none can be started', async () => {
    const world = new Supervised(1);
    world.onStart = () => {
      throw new VifdError('ERR_WORKER', 'A process cannot be started (EAGAIN).');
    };
    for (const domid of [1, 2, 3]) await expect(world.found(domid)).rejects.toThrow(/EAGAIN/);
    expect(world.workers.length).toBe(1);
    await world.advance(250);
    await expect(world.found(1)).rejects.toThrow(/EAGAIN/);
    expect(world.workers.length).toBe(2);
  });

  it('kills a process that closes its link at once', async () => {
    const world = new Supervised(1);
    world.onStart = (worker) => worker.loseLink();
    await expect(world.found(1)).rejects.toThrow(/ended before it could serve \(SIGKILL\)/);
    expect(world.worker(100).signals).toEqual(['SIGKILL']);
  });

  it.each(['started', 'adopted'])(
    'does not use a worker that it has %s and that ends right behind its hello',
    async (how) => {
      const world = new Supervised(1);
      world.onStart = (worker) => {
        if (world.workers.length > 3) throw new VifdError('ERR_WORKER', 'This is an endless loop.');
        worker.hello(['vif1.0']);
        worker.loseLink();
      };
      const begun =
        how === 'started'
          ? world.found(1)
          : world.fleet.adopt(async (reports) => {
              const worker = new FakeWorker(4711, reports);
              // Messages that come together are heard in one turn.
              queueMicrotask(() => world.onStart(worker));
              return worker.start;
            });
      await expect(begun).rejects.toThrow(/ended before it could serve \(SIGKILL\)/);
      expect([...world.fleet.workers]).toEqual([]);
      expect(world.workers.length).toBeLessThan(2);
    },
  );

  it('ends also what is just starting', async () => {
    const world = new Supervised(1);
    world.onStart = () => undefined;
    world.fleet.begin();
    await world.settle();
    // It may wait for a xenstored that does not respond.
    const starting = world.worker(100);
    starting.killable = false;
    let isOver = false;
    void world.fleet.end().then(() => {
      isOver = true;
    });
    await world.settle();
    expect([starting.signals, isOver]).toEqual([['SIGKILL'], false]);
    starting.exit('SIGKILL');
    await world.settle();
    expect(isOver).toBe(true);
    await world.advance(60_000);
    expect(world.workers.length).toBe(1);
  });

  it('lets a worker of an earlier supervisor detach that has not said hello when vifd ends', async () => {
    const world = new Supervised(1);
    let earlier: FakeWorker | undefined;
    const adopted = world.fleet.adopt(async (reports) => {
      earlier = new FakeWorker(4711, reports);
      return earlier.start;
    });
    adopted.catch(() => undefined);
    await world.settle();
    const ended = world.fleet.end();
    await world.advance(1000);
    // It closes its link when it has detached, and then ends.
    earlier?.loseLink();
    await world.settle();
    expect(earlier?.signals).toEqual(['SIGTERM']);
    earlier?.exit('code 0');
    await ended;
    await expect(adopted).rejects.toThrow(/ended before it could serve \(code 0\)/);
  });

  it('kills a worker of an earlier supervisor that hangs when vifd ends', async () => {
    const world = new Supervised(1);
    let earlier: FakeWorker | undefined;
    const adopted = world.fleet.adopt(async (reports) => {
      earlier = new FakeWorker(4711, reports);
      return earlier.start;
    });
    adopted.catch(() => undefined);
    await world.settle();
    const ended = world.fleet.end();
    await world.advance(3250);
    await ended;
    expect(earlier?.signals).toEqual(['SIGTERM', 'SIGKILL']);
  });
});
