import { afterEach, describe, expect, it } from 'vitest';
import { hostFault } from '../../lib/errors.js';
import { HostFaults } from '../../lib/netback/faults/host-faults.js';
import type { FrameBatch } from '../../lib/ports/frame-batch.js';
import { FRAME_STATUS, FRAMES_ERRNO, frameAt } from '../../lib/ports/frame-batch.js';
import type { PortBatches, PortIo, PortOptions } from '../../lib/ports/port.js';
import { TX_FLAG_CSUM_BLANK } from '../../lib/protocol/netif.js';
import type { HostCall } from '../../lib/testing/model/faults.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { modelMachine } from '../../worlds/model/machine.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';
import { TestPort } from '../../worlds/model/test-port.js';

const VIF = 'vif7.0';
const EIO = 5;
const EAGAIN = 11;

/** A host that fails the calls in `failing`. */
class FailingHost {
  readonly failing = new Map<HostCall, string>();
  readonly hypervisor = new ModelHypervisor({
    faults: { host: (call, domid) => (domid === 0 ? this.#fails(call) : undefined) },
  });
  failures = 0;

  #fails(call: HostCall): string | undefined {
    const errno = this.failing.get(call);
    if (errno !== undefined) this.failures++;
    return errno;
  }
}

/** A port whose device fails. */
class FailingPort extends TestPort {
  writing = 0;
  reading = 0;

  override open(batches: PortBatches, options: PortOptions): PortIo {
    const io = super.open(batches, options);
    return {
      ...io,
      write: () => {
        answer(batches.writes, this.writing);
        return this.writing === 0 ? io.write() : batches.writes.count;
      },
      read: () => {
        batches.reads.block[FRAMES_ERRNO] = this.reading;
        return this.reading === 0 ? io.read() : 0;
      },
    };
  }
}

function answer(writes: FrameBatch, errno: number): void {
  for (let i = 0; i < writes.count; i++) writes.block[frameAt(i) + FRAME_STATUS] = errno;
  writes.block[FRAMES_ERRNO] = errno;
}

describe('the faults of a connection', () => {
  it('are one if their messages are the same, and do not hide each other if these differ', () => {
    const told: string[] = [];
    const faults = new HostFaults({
      onBegin: ({ message }) => told.push(`+${message}`),
      onEnd: ({ message }) => told.push(`-${message}`),
    });
    const [copying, sending] = [hostFault('Copying', 'ENOMEM'), hostFault('Sending', 'ENOBUFS')];
    const [first, second, port] = ['queue 0', 'queue 1', 'port'].map((part) => faults.of(part));
    first(copying);
    second(copying);
    first(copying);
    port(sending);
    expect(told.splice(0)).toEqual([`+${copying.message}`, `+${sending.message}`]);
    first(undefined);
    first(undefined);
    expect(told).toEqual([]);
    second(undefined);
    expect(told.splice(0)).toEqual([`-${copying.message}`]);
    port(copying);
    expect(told).toEqual([`+${copying.message}`, `-${sending.message}`]);
  });
});

describe('a host that is short of something', () => {
  let host: FailingHost;
  let world: World;
  let guest: RawGuest;
  afterEach(() => world.close());

  const advance = (ms: number) => host.hypervisor.advance(ms);
  const errors = () => world.errors.map(({ code, errno, message }) => `${code} ${errno} ${message}`);
  const vif = () => world.netback.vifs.get(VIF)!;

  async function begin(payload: 'copy' | 'map' = 'copy', port?: TestPort): Promise<void> {
    host = new FailingHost();
    world = await World.open(modelMachine(host.hypervisor));
    guest = await world.guest(7);
    await world.start(payload, [guest], port === undefined ? {} : { port: () => port });
  }

  it.each([
    ['copy', 'copy'],
    ['map', 'map'],
  ] as const)(
    'stops no guest that sends (%s): its frames wait, and are sent when it works again',
    async (payload, call) => {
      await begin(payload);
      host.failing.set(call, 'ENOMEM');
      guest.send([{ size: 60 }, { size: 70 }]);
      await advance(5000);
      expect(guest.txResponses()).toEqual([]);
      expect(errors()).toEqual([
        expect.stringMatching(
          /^ERR_HOST ENOMEM vif7\.0: Getting frames from the guest failed \(ENOMEM\): .*free memory/,
        ),
      ]);
      expect([vif().state, vif().reason]).toEqual(['connected', world.errors[0].message]);
      // 1, 2, 4, .. 512 ms, then once a second.
      expect(host.failures).toBeLessThan(20);
      const failures = host.failures;
      await advance(1000);
      expect(host.failures).toBeGreaterThan(failures);
      host.failing.clear();
      await advance(1000);
      expect(guest.txResponses().map(({ status }) => status)).toEqual([0, 0]);
      expect(world.port(VIF).written.map(({ length }) => length)).toEqual([60, 70]);
      expect(world.mended).toEqual(world.errors);
      expect(vif().faults).toEqual([]);
      // The pauses start again from the shortest.
      host.failing.set(call, 'ENOMEM');
      guest.send([{ size: 60 }]);
      await host.hypervisor.settle();
      host.failing.clear();
      await advance(1);
      expect(guest.txResponses()).toHaveLength(3);
      expect(world.errors).toHaveLength(2);
    },
  );

  it.each([
    ['copy', 'copy'],
    ['map', 'map'],
  ] as const)('stops no guest that receives (%s): frames wait for it', async (payload, call) => {
    await begin(payload);
    guest.post([0, 1, 2, 3].map((page) => guest.ref(page)));
    await host.hypervisor.settle();
    host.failing.set(call, 'ENOMEM');
    world.port(VIF).put(new Uint8Array(60).fill(7));
    await advance(3000);
    expect(guest.rxResponses()).toEqual([]);
    expect(errors()).toEqual([
      expect.stringContaining('ERR_HOST ENOMEM vif7.0: Putting frames into the guest'),
    ]);
    host.failing.clear();
    await advance(1000);
    expect(guest.rxResponses()).toHaveLength(1);
    expect(guest.pages.bytes[0]).toBe(7);
    expect(vif().stats.toGuest).toMatchObject({ frames: 1, bytes: 60, dropped: 0, errors: 0 });
    expect(world.mended).toEqual(world.errors);
  });

  it('makes no guest pay twice for what was tried twice', async () => {
    host = new FailingHost();
    world = await World.open(modelMachine(host.hypervisor));
    guest = await world.guest(7);
    await world.toolstack.store.write('/local/domain/0/backend/vif/7/0/rate', '1000,1000000');
    await world.start('copy', [guest]);
    host.failing.set('copy', 'ENOMEM');
    guest.send([{ size: 400 }, { size: 400 }]);
    await advance(500);
    host.failing.clear();
    await advance(400);
    expect(guest.txResponses()).toHaveLength(2);
    expect(world.mended).toHaveLength(1);
  });

  it('does not respond to a batch while its pages cannot be unmapped, and sends it once', async () => {
    await begin('map');
    host.failing.set('unmap', 'ENOMEM');
    guest.send([{ size: 60 }]);
    await advance(3000);
    expect(guest.txResponses()).toEqual([]);
    expect(errors()).toEqual([
      expect.stringContaining("ERR_HOST ENOMEM vif7.0: Unmapping the guest's pages"),
    ]);
    host.failing.clear();
    await advance(1000);
    expect(guest.txResponses()).toHaveLength(1);
    expect(world.port(VIF).written).toHaveLength(1);
    expect(world.mended).toEqual(world.errors);
  });

  it('reports what it cannot release when its guest goes, and later that it could', async () => {
    host = new FailingHost();
    const machine = modelMachine(host.hypervisor);
    const waiting: (() => void)[] = [];
    const open = async (domid: number) => {
      const xen = await machine.open(domid);
      const map = xen.grants.map.bind(xen.grants);
      xen.grants.map = (...which) => {
        const mapping = map(...which);
        const unmap = mapping.unmap.bind(mapping);
        mapping.unmap = () => {
          unmap();
          throw hostFault('Unmapping 1 page of the guest', 'ENOMEM');
        };
        return mapping;
      };
      return Object.assign(xen, { whenEnded: (then: () => void) => void waiting.push(then) });
    };
    world = await World.open({ ...machine, open });
    guest = await world.guest(7);
    await world.start('copy', [guest]);
    await world.settled(world.toolstack.store.write('/local/domain/7/device/vif/0/state', '6'));
    expect(errors()).toEqual([expect.stringContaining('ERR_HOST ENOMEM vif7.0: Unmapping 1 page')]);
    expect(vif()).toMatchObject({ state: 'closed', reason: expect.stringContaining('Unmapping') });
    expect(world.mended).toEqual([]);
    for (const then of waiting) then();
    expect(world.mended).toEqual(world.errors);
  });

  it.each(['map', 'bind'] as const)('attaches to a guest later when it cannot now (%s)', async (call) => {
    host = new FailingHost();
    world = await World.open(modelMachine(host.hypervisor));
    guest = await world.guest(7);
    host.failing.set(call, 'ENOSPC');
    await world.start('copy', [guest]);
    await advance(2000);
    expect([vif().state, world.attached.length]).toEqual(['waiting', 0]);
    expect(errors()).toEqual([expect.stringContaining('ERR_HOST ENOSPC vif7.0: ')]);
    host.failing.clear();
    await advance(1000);
    guest.send([{ size: 60 }]);
    await host.hypervisor.settle();
    expect(guest.txResponses()).toHaveLength(1);
    expect(world.mended).toEqual(world.errors);
  });

  it('reports a port that fails to send, and counts what it drops', async () => {
    const port = new FailingPort();
    await begin('copy', port);
    port.writing = EIO;
    for (let i = 0; i < 3; i++) {
      guest.send([{ size: 60 }]);
      await host.hypervisor.settle();
    }
    expect(errors()).toEqual([
      expect.stringMatching(/^ERR_TAP EIO vif7\.0: Sending frames of the guest failed \(EIO\)/),
    ]);
    expect(vif().stats.fromGuest).toMatchObject({ frames: 0, dropped: 3 });
    port.writing = 0;
    guest.send([{ size: 60 }]);
    await host.hypervisor.settle();
    expect(vif().stats.fromGuest).toMatchObject({ frames: 1, dropped: 3 });
    expect(world.mended).toEqual(world.errors);
    // Full is no fault: it is counted.
    port.writing = EAGAIN;
    guest.send([{ size: 60 }]);
    await host.hypervisor.settle();
    expect(world.errors).toHaveLength(1);
    expect(vif().stats.fromGuest.dropped).toBe(4);
  });

  it('does not take a frame that was dropped before for a sign that the port sends again', async () => {
    const port = new FailingPort();
    await begin('copy', port);
    port.writing = EIO;
    guest.send([{ size: 60 }]);
    await host.hypervisor.settle();
    port.writing = 0;
    guest.send([{ size: 60, flags: TX_FLAG_CSUM_BLANK }]);
    await host.hypervisor.settle();
    expect(vif().stats.fromGuest.drops).toMatchObject({ refused: 1, offload: 1 });
    expect([vif().faults.length, world.mended]).toEqual([1, []]);
    guest.send([{ size: 60, flags: TX_FLAG_CSUM_BLANK }, { size: 60 }]);
    await host.hypervisor.settle();
    expect(world.mended).toEqual(world.errors);
  });

  it('reports a port that cannot be read, also where the guest has sent nothing more since a frame failed', async () => {
    const port = new FailingPort();
    await begin('copy', port);
    port.writing = EIO;
    guest.send([{ size: 60 }]);
    guest.post([0, 1].map((page) => guest.ref(page)));
    await host.hypervisor.settle();
    port.writing = 0;
    port.reading = EIO;
    port.put(new Uint8Array(60));
    await advance(1000);
    const [sending, reading] = world.errors;
    expect(errors()).toEqual([
      expect.stringContaining('Sending frames of the guest failed (EIO)'),
      expect.stringContaining('Reading frames for the guest failed (EIO)'),
    ]);
    port.reading = 0;
    await advance(1000);
    expect([world.mended, vif().faults]).toEqual([[reading], [sending]]);
  });

  it('reports a port that cannot be read, and reads it again', async () => {
    const port = new FailingPort();
    await begin('copy', port);
    guest.post([0, 1].map((page) => guest.ref(page)));
    await host.hypervisor.settle();
    port.reading = EIO;
    port.put(new Uint8Array(60).fill(9));
    await advance(3000);
    expect(errors()).toEqual([
      expect.stringMatching(/^ERR_TAP EIO vif7\.0: Reading frames for the guest failed \(EIO\)/),
    ]);
    port.reading = 0;
    await advance(1000);
    expect(guest.rxResponses()).toHaveLength(1);
    expect(world.mended).toEqual(world.errors);
  });
});
