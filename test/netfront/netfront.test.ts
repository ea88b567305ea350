import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { frontendVifPath } from '../../lib/protocol/xenbus.js';
import { ModelHypervisor, type ModelXen } from '../../lib/testing/model/index.js';
import { createVif, Netfront, type NetfrontOptions, TrafficPort } from '../../lib/testing/netfront/index.js';
import { LoopBackend } from './loop-backend.js';

const GUEST = 7;
const SIZES = [60, 1514, 65535, 1515, 300, 9000];

describe('a frontend on the model', () => {
  let hypervisor: ModelHypervisor;
  let dom0: ModelXen;
  let guest: ModelXen;
  let backend: LoopBackend;
  let port: TrafficPort;

  beforeEach(async () => {
    hypervisor = new ModelHypervisor({ seed: 11 });
    dom0 = hypervisor.open(0);
    guest = hypervisor.open(GUEST);
    port = new TrafficPort({ generate: { seed: 1, sizes: SIZES, frames: 0 }, check: { seed: 1 } });
    await createVif(dom0.store, { domid: GUEST, handle: 0, mac: '00:16:3e:00:00:07' });
    backend = new LoopBackend(dom0, GUEST, 0);
  });

  afterEach(async () => {
    if (dom0.alive) backend.detach();
    await hypervisor.settle();
    await dom0[Symbol.asyncDispose]();
    await guest[Symbol.asyncDispose]();
  });

  async function settled<T>(promise: Promise<T>): Promise<T> {
    await hypervisor.settle();
    return promise;
  }

  async function connect(more: Partial<NetfrontOptions> = {}): Promise<Netfront> {
    await backend.announce();
    const front = await settled(Netfront.connect({ xen: guest, handle: 0, port, seed: 5, ...more }));
    await backend.attach();
    await backend.state(4);
    await settled(front.connected());
    return front;
  }

  async function close(front: Netfront): Promise<void> {
    const closing = front.close();
    await hypervisor.settle();
    await backend.state(5);
    await hypervisor.settle();
    backend.detach();
    await backend.state(6);
    await settled(closing);
  }

  const keys = async (...names: string[]) =>
    Object.fromEntries(
      await Promise.all(
        names.map(async (name) => [name, await guest.store.read(`${frontendVifPath(GUEST, 0)}/${name}`)]),
      ),
    );

  test('waits for InitWait, writes all keys, and is Connected', async () => {
    const connecting = Netfront.connect({ xen: guest, handle: 0, port });
    await hypervisor.settle();
    expect(await backend.frontendState()).toBe('1');
    await backend.announce();
    const front = await settled(connecting);
    expect(await keys('state', 'request-rx-copy', 'feature-rx-notify', 'feature-sg')).toEqual({
      state: '4',
      'request-rx-copy': '1',
      'feature-rx-notify': '1',
      'feature-sg': '1',
    });
    expect(await keys('feature-gso-tcpv4', 'feature-gso-tcpv6', 'feature-ipv6-csum-offload')).toEqual({
      'feature-gso-tcpv4': '1',
      'feature-gso-tcpv6': '1',
      'feature-ipv6-csum-offload': '1',
    });
    const { 'event-channel': channel, 'event-channel-tx': split } = await keys(
      'event-channel',
      'event-channel-tx',
    );
    expect(Number(channel)).toBeGreaterThan(0);
    expect(split).toBeUndefined();
    await close(front);
  });

  test.each([true, false])(
    'frames of all sizes go out and come back as they were (split channels: %s)',
    async (split) => {
      const front = await connect({ splitChannels: split, ringStart: 2 ** 32 - 100 });
      port.send(600);
      await hypervisor.settle();
      expect(port.checker!.counts).toMatchObject({
        frames: 600,
        lost: 0,
        repeated: 0,
        damaged: 0,
        foreign: 0,
      });
      expect(front.violations.list).toEqual([]);
      expect(backend.failures).toBe(0);
      expect(front.stats.fromGuest).toMatchObject({ frames: 600, gsoFrames: 300, errors: 0 });
      expect(front.stats.toGuest.frames).toBe(600);
      await close(front);
    },
  );

  test('splits its channels when the backend offers it', async () => {
    await backend.announce({ 'feature-split-event-channels': '1', 'multi-queue-max-queues': '4' });
    const front = await settled(Netfront.connect({ xen: guest, handle: 0, port }));
    const found = await keys(
      'event-channel',
      'event-channel-tx',
      'event-channel-rx',
      'multi-queue-num-queues',
    );
    expect(found['event-channel']).toBeUndefined();
    expect(found['event-channel-tx']).not.toBe(found['event-channel-rx']);
    expect(found['multi-queue-num-queues']).toBe('1');
    await close(front);
  });

  test('offers only what its options allow', async () => {
    const front = await connect({ features: { sg: false, gsoV4: false, gsoV6: false, checksumV4: false } });
    expect(await keys('feature-sg', 'feature-gso-tcpv4', 'feature-no-csum-offload')).toEqual({
      'feature-sg': '0',
      'feature-gso-tcpv4': '0',
      'feature-no-csum-offload': '1',
    });
    await close(front);
  });

  test('a backend that dies leaves the frontend as it was, and the next one continues', async () => {
    const front = await connect();
    port.send(300);
    await hypervisor.settle();
    hypervisor.kill(dom0);
    port.send(300);
    await hypervisor.settle();
    expect(port.checker!.counts.frames).toBe(300);
    expect(front.outstanding).toBeGreaterThan(0);
    expect(await keys('state')).toEqual({ state: '4' });

    dom0 = hypervisor.open(0);
    backend = new LoopBackend(dom0, GUEST, 0);
    await backend.attach();
    await hypervisor.settle();
    expect(port.checker!.counts).toMatchObject({ frames: 600, lost: 0, repeated: 0, damaged: 0 });
    expect(front.violations.list).toEqual([]);
    expect(front.outstanding).toBe(0);
    await close(front);
  });

  test('closing writes Closing and Closed in step with the backend, and leaves nothing granted', async () => {
    const front = await connect();
    const closing = front.close();
    await hypervisor.settle();
    expect(await keys('state')).toEqual({ state: '5' });
    await backend.state(5);
    await hypervisor.settle();
    expect(await keys('state')).toEqual({ state: '6' });
    backend.detach();
    await backend.state(6);
    await settled(closing);
    await expect(front.closed).resolves.toBe('closed by us');
    expect(guest.leaks()).toEqual([]);
  });

  test('does not wait for a dead backend for ever', async () => {
    const front = await connect({ closeTimeoutMs: 100 });
    hypervisor.kill(dom0);
    const closing = front.close();
    await hypervisor.advance(100);
    await hypervisor.advance(100);
    await closing;
    expect(guest.leaks()).toEqual([]);
  });

  test('follows a backend that closes', async () => {
    const front = await connect();
    await backend.state(5);
    await hypervisor.settle();
    expect(await keys('state')).toEqual({ state: '6' });
    backend.detach();
    await backend.state(6);
    await expect(settled(front.closed)).resolves.toBe('closed by the backend');
    expect(guest.leaks()).toEqual([]);
  });

  test('ends when the toolstack takes the vif away under it', async () => {
    const front = await connect();
    backend.detach();
    await dom0.store.rm(backend.backendPath);
    await expect(settled(front.closed)).resolves.toBe('the backend is gone');
    expect(guest.leaks()).toEqual([]);
  });

  test('a vif that an earlier frontend used is brought back to its beginning first', async () => {
    const front = await connect();
    await backend.state(4);
    // The guest's process is killed.
    hypervisor.kill(guest);
    guest = hypervisor.open(GUEST);
    const again = Netfront.connect({ xen: guest, handle: 0, port });
    await hypervisor.settle();
    expect(await keys('state')).toEqual({ state: '5' });
    await backend.state(5);
    await hypervisor.settle();
    expect(await keys('state')).toEqual({ state: '6' });
    backend.detach();
    await backend.state(6);
    await hypervisor.settle();
    expect(await keys('state')).toEqual({ state: '1' });
    backend = new LoopBackend(dom0, GUEST, 0);
    await backend.announce();
    const second = await settled(again);
    expect(await keys('state')).toEqual({ state: '4' });
    expect(second.backendState).toBe(2);
    expect(front.backendState).toBe(4);
    await close(second);
  });

  test('refuses where the toolstack made no vif', async () => {
    await expect(Netfront.connect({ xen: guest, handle: 3, port })).rejects.toMatchObject({
      code: 'ERR_STATE',
    });
  });

  test('connecting can be given up, and leaves nothing behind', async () => {
    const abort = new AbortController();
    const connecting = Netfront.connect({ xen: guest, handle: 0, port, signal: abort.signal });
    const refused = expect(connecting).rejects.toThrow('enough');
    await hypervisor.settle();
    abort.abort(new Error('enough'));
    await hypervisor.settle();
    await refused;
    expect(guest.leaks()).toEqual([]);
  });
});
