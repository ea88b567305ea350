import { type EventEmitter, errorMonitor } from 'node:events';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Backoff } from '../../lib/backoff.js';
import { VifdError } from '../../lib/errors.js';
import { Faults } from '../../lib/netback/faults/present-faults.js';
import { Netback } from '../../lib/netback/netback.js';
import type { Port, PortTrouble } from '../../lib/ports/port.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { modelMachine } from '../../worlds/model/machine.js';
import { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';
import { TestPort } from '../../worlds/model/test-port.js';

const tapBusy = (name: string) =>
  new VifdError('ERR_TAP', `Tap ${name}: TUNSETIFF failed (EBUSY): another process has it open.`, {
    errno: 'EBUSY',
  });

/** A port whose interface a test removes. */
class FollowedPort extends TestPort {
  listener: ((trouble: PortTrouble | undefined) => void) | undefined;
  closed = false;

  follow(listener: (trouble: PortTrouble | undefined) => void): Disposable {
    this.listener = listener;
    return {
      [Symbol.dispose]: () => {
        this.listener = undefined;
      },
    };
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    this.closed = true;
  }
}

describe('faults', () => {
  it('are reported when they begin, when their message changes, and when they end', () => {
    const told: string[] = [];
    const faults = new Faults({
      onBegin: ({ message }) => told.push(`+${message}`),
      onEnd: ({ message }) => told.push(`-${message}`),
    });
    faults.begin('port', new VifdError('ERR_TAP', 'gone'));
    faults.begin('port', new VifdError('ERR_TAP', 'gone'));
    faults.begin('port', new VifdError('ERR_TAP', 'busy'));
    faults.begin('store', new VifdError('ERR_STORE_GONE', 'away'));
    expect(faults.all.map(({ message }) => message)).toEqual(['busy', 'away']);
    faults.end('port');
    faults.end('port');
    faults.forget((kind) => kind === 'store');
    faults.end('store');
    expect(told).toEqual(['+gone', '+busy', '+away', '-busy']);
  });
});

describe('a backoff', () => {
  it('doubles its pauses up to a second, and begins anew after a success', async () => {
    const hypervisor = new ModelHypervisor();
    const { clock } = hypervisor.open(0);
    const times: number[] = [];
    const backoff = new Backoff(clock, () => {
      times.push(clock.now());
      backoff.again();
    });
    backoff.again();
    backoff.again();
    await hypervisor.advance(5000);
    const pauses = times.map((time, i) => time - (times[i - 1] ?? 0));
    expect(pauses).toEqual([20, 40, 80, 160, 320, 640, 1000, 1000, 1000]);
    backoff.reset();
    await hypervisor.advance(5000);
    expect(times).toHaveLength(pauses.length);
    backoff.again();
    const before = clock.now();
    await hypervisor.advance(20);
    expect(times.at(-1)).toBe(before + 20);
    backoff.cancel();
  });
});

describe('a vif whose host fails', () => {
  let hypervisor: ModelHypervisor;
  let world: World;
  beforeEach(async () => {
    hypervisor = new ModelHypervisor();
    world = await World.open(modelMachine(hypervisor));
  });
  afterEach(() => world.close());

  const vif = (domid = 7) => world.netback.vifs.get(`vif${domid}.0`);

  it('is served as soon as its port can be opened, without a restart, and its neighbour all the while', async () => {
    const guests = [await world.guest(7), await world.guest(8)];
    let busy = true;
    let tries = 0;
    const ports = new Map<string, TestPort>();
    const port = ({ id }: { id: string }): Port => {
      if (id === 'vif7.0') tries++;
      if (id === 'vif7.0' && busy) throw tapBusy(id);
      const made = new TestPort();
      ports.set(id, made);
      return made;
    };
    await world.start('copy', guests, { port });
    expect(vif(8)?.state).toBe('connected');
    expect(vif(7)?.state).toBe('waiting');
    expect(vif(7)?.reason).toMatch(/Tap vif7\.0: TUNSETIFF failed \(EBUSY\)/);
    await hypervisor.advance(30_000);
    expect(world.errors.map(({ message }) => message)).toEqual([tapBusy('vif7.0').message]);
    expect(tries).toBeGreaterThan(30);
    expect(tries).toBeLessThan(60);
    busy = false;
    await hypervisor.advance(1000);
    expect(vif(7)?.state).toBe('connected');
    expect(vif(7)?.reason).toBeUndefined();
    expect(world.mended.map(({ message }) => message)).toEqual([tapBusy('vif7.0').message]);
    guests[0]?.send([{ size: 60 }]);
    await world.settle();
    expect(ports.get('vif7.0')?.written).toHaveLength(1);
  });

  it('attaches to a port that was made anew, and continues where the lost one was', async () => {
    const guest = await world.guest(7);
    const ports: FollowedPort[] = [];
    const port = (): Port => {
      const made = new FollowedPort();
      ports.push(made);
      return made;
    };
    await world.start('copy', [guest], { port });
    guest.send([{ size: 60 }]);
    await world.settle();
    const [first] = ports;
    const error = new VifdError('ERR_TAP', 'vif7.0: its tap was deleted; it is made anew.');
    first?.listener?.({ error, lost: true });
    await world.settle();
    expect(first?.closed).toBe(true);
    expect(first?.removed).toBe(false);
    expect(world.detached).toEqual(['port-lost']);
    expect(world.attached.map(({ resumed }) => resumed)).toEqual([false, true]);
    expect(world.errors).toEqual([error]);
    expect(world.mended).toEqual([error]);
    guest.send([{ size: 60 }]);
    await world.settle();
    expect(ports[1]?.written).toHaveLength(1);
    expect(guest.txResponses()).toHaveLength(2);
  });

  it('attaches to a new port while xenstored is away, and tries again until that can be opened', async () => {
    const guest = await world.guest(7);
    const ports: FollowedPort[] = [];
    let busy = false;
    const port = (): Port => {
      if (busy) throw tapBusy('vif7.0');
      const made = new FollowedPort();
      ports.push(made);
      return made;
    };
    await world.start('copy', [guest], { port });
    hypervisor.store.stop();
    await world.settle();
    busy = true;
    const lost = new VifdError('ERR_TAP', 'vif7.0: its tap was deleted; it is made anew.');
    ports[0]?.listener?.({ error: lost, lost: true });
    await hypervisor.advance(5000);
    expect(vif()?.state).toBe('waiting');
    expect(world.errors.map(({ code }) => code)).toEqual(['ERR_STORE_GONE', 'ERR_TAP', 'ERR_TAP']);
    busy = false;
    await hypervisor.advance(1000);
    expect(vif()?.state).toBe('connected');
    expect(vif()?.faults).toEqual([]);
    guest.send([{ size: 60 }]);
    await world.settle();
    expect(ports[1]?.written).toHaveLength(1);
    hypervisor.store.start('preserved');
    await hypervisor.advance(1000);
    expect(world.attached.map(({ resumed }) => resumed)).toEqual([false, false]);
    expect(ports).toHaveLength(2);
  });

  it('reports what stands between its port and the network, and stays attached', async () => {
    const guest = await world.guest(7);
    const port = new FollowedPort();
    await world.start('copy', [guest], { port: () => port });
    const down = new VifdError('ERR_LINK', 'vif7.0: its tap is down: set it up.');
    port.listener?.({ error: down, lost: false });
    await world.settle();
    expect(vif()?.state).toBe('connected');
    expect(vif()?.reason).toBe(down.message);
    expect(vif()?.show().faults).toEqual([{ code: 'ERR_LINK', message: down.message }]);
    port.listener?.(undefined);
    expect(vif()?.reason).toBeUndefined();
    expect(world.mended).toEqual([down]);
    expect(world.detached).toEqual([]);
  });

  it('is named in what its port reports, though its interface has another name', async () => {
    const guest = await world.guest(7);
    const port = new FollowedPort();
    await world.start('copy', [guest], { port: () => port });
    port.listener?.({ error: new VifdError('ERR_LINK', 'Tap web0 is down: set it up.'), lost: false });
    expect(world.errors).toMatchObject([{ message: 'vif7.0: Tap web0 is down: set it up.' }]);
  });

  it('does not keep other vifs from being served when it cannot be read, and is served when it can', async () => {
    const guests = [await world.guest(7), await world.guest(8)];
    let readable = false;
    const accept = ({ id }: { id: string }) => {
      if (id === 'vif7.0' && !readable)
        throw new VifdError('ERR_STORE', 'reading failed (EIO)', { errno: 'EIO' });
      return true;
    };
    await world.start('copy', guests, { accept });
    expect(vif(7)).toBeUndefined();
    expect(vif(8)?.state).toBe('connected');
    expect(world.netback.faults.map(({ message }) => message)).toEqual([
      'vif7.0 cannot be served yet: reading failed (EIO); vifd tries again.',
    ]);
    readable = true;
    await hypervisor.advance(1000);
    expect(vif(7)?.state).toBe('connected');
    expect(world.netback.faults).toEqual([]);
    expect(world.mended).toHaveLength(1);
  });

  it('is no fault any more when its node is gone', async () => {
    await world.start('copy', [await world.guest(7)], {
      accept: () => {
        throw new Error('not now');
      },
    });
    expect(world.netback.faults).toHaveLength(1);
    await world.settled(world.toolstack.store.rm('/local/domain/0/backend/vif/7'));
    await hypervisor.advance(2000);
    expect(world.netback.faults).toEqual([]);
  });

  it('is not served by a netback whose opening was rejected', async () => {
    const guest = await world.guest(7);
    await world.settled(guest.connect(world.toolstack));
    const dom0 = await world.machine.open(0);
    const store = Object.create(dom0.store, {
      list: { value: () => Promise.reject(new VifdError('ERR_STORE', 'EACCES', { errno: 'EACCES' })) },
      // Its own folder can be read, so EACCES is no sign of a removal.
      read: { value: dom0.store.read.bind(dom0.store) },
      watch: { value: dom0.store.watch.bind(dom0.store) },
      onConnection: { value: dom0.store.onConnection.bind(dom0.store) },
    });
    const xen = Object.create(dom0, { store: { value: store } });
    const opening = expect(Netback.open({ xen, port: () => new TestPort() })).rejects.toThrow('EACCES');
    await world.settled(opening);
    // Nothing is left open: the model refuses an end that leaves a mapping, a port or a watch behind.
    await world.settled(dom0[Symbol.asyncDispose]());
    await world.start('copy');
  });

  describe('when a listener fails', () => {
    const warned: string[] = [];
    const onWarning = ({ message }: Error) => warned.push(message);
    beforeEach(() => {
      warned.length = 0;
      process.on('warning', onWarning);
    });
    afterEach(() => process.off('warning', onWarning));

    const failing: [how: string, listener: () => void][] = [
      [
        'by throwing',
        () => {
          throw new Error('a listener of the program');
        },
      ],
      ['by rejecting', () => Promise.reject(new Error('a listener of the program'))],
    ];
    it.each(failing)('continues: %s', async (_how, listener) => {
      const guest = new RawGuest(await world.machine.open(7));
      await world.start('copy');
      world.netback.on('attached', listener);
      await world.settled(guest.connect(world.toolstack));
      await world.settle();
      await new Promise(setImmediate);
      expect(vif()?.state).toBe('connected');
      expect(warned).toEqual(["A listener of 'attached' threw: a listener of the program"]);
    });

    it('continues where only errorMonitor has one', async () => {
      const guest = new RawGuest(await world.machine.open(7));
      await world.start('copy', [guest]);
      world.netback.removeAllListeners('error');
      (world.netback as EventEmitter).on(errorMonitor, failing[0][1]);
      using _hook = vif()?.hook(() => {
        throw new Error('a hook');
      });
      guest.send([{ size: 60 }]);
      await world.settle();
      await new Promise(setImmediate);
      expect(guest.txResponses()).toHaveLength(1);
      expect(warned).toEqual([
        expect.stringContaining('threw: a hook'),
        "A listener of 'error' threw: a listener of the program",
      ]);
    });
  });
});
