import { beforeEach, describe, expect, it } from 'vitest';
import { VifdError } from '../../lib/errors.js';
import type { VifLocks } from '../../lib/host/vif-locks.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { WorkerLocks } from '../../lib/workers/worker-locks.js';
import { place } from './fake-workers.js';

const OWN = 1;

/** The locks of a host by vif: which process has them. */
class FakeLocks {
  readonly held = new Map<string, number>();
  /** Why the file cannot be used. */
  errno: string | undefined;

  take({ id }: { readonly id: string }) {
    const { errno } = this;
    if (errno !== undefined) throw new VifdError('ERR_JOURNAL', 'There is no room.', { errno });
    if (this.held.has(id)) throw new VifdError('ERR_RUNNING', `Another vifd serves ${id}.`);
    this.held.set(id, OWN);
    return { stands: true, [Symbol.dispose]: () => void this.held.delete(id) };
  }

  holder({ id }: { readonly id: string }) {
    return this.held.get(id);
  }
}

describe("a worker's locks", () => {
  let hypervisor: ModelHypervisor;
  let host: FakeLocks;
  let lost: string[];
  let locks: WorkerLocks;
  const vif = place(1);
  beforeEach(() => {
    hypervisor = new ModelHypervisor();
    host = new FakeLocks();
    lost = [];
    locks = new WorkerLocks({
      clock: hypervisor.open(0).clock,
      locks: host as unknown as VifLocks,
      onLost: ({ id }, { code }) => lost.push(`${id} ${code}`),
    });
  });

  it('are taken at once if they are free, and released', () => {
    locks.take(vif, undefined);
    expect(host.held.get(vif.id)).toBe(OWN);
    expect(locks.isAwaited(vif.id)).toBe(false);
    locks.release(vif.id);
    expect(host.held.size).toBe(0);
  });

  it('are refused while another process has them than the one that serves no more', () => {
    host.held.set(vif.id, 66);
    for (const from of [undefined, 77])
      expect(() => locks.take(vif, from)).toThrow(expect.objectContaining({ code: 'ERR_RUNNING' }));
    expect(locks.isAwaited(vif.id)).toBe(false);
  });

  it('are waited for while the process has them that serves no more', async () => {
    host.held.set(vif.id, 66);
    locks.take(vif, 66);
    await hypervisor.advance(500);
    expect(locks.isAwaited(vif.id)).toBe(true);
    host.held.delete(vif.id);
    await hypervisor.advance(64);
    expect(host.held.get(vif.id)).toBe(OWN);
    // The kernel may still close the other descriptors of that process.
    expect(locks.isAwaited(vif.id)).toBe(true);
    await hypervisor.advance(100);
    expect(locks.isAwaited(vif.id)).toBe(false);
    expect(lost).toEqual([]);
  });

  it('are missing while their file cannot be used, and are taken once it can', async () => {
    expect(locks.stand).toBe(true);
    locks.take(vif, undefined);
    host.errno = 'ENOSPC';
    locks.take(place(2), undefined);
    // Of a process that serves no more, and that had its lock when the file could be used.
    host.errno = undefined;
    host.held.set('vif3.0', 66);
    locks.take(place(3), 66);
    expect(locks.isAwaited('vif3.0')).toBe(true);
    host.errno = 'ENOSPC';
    await hypervisor.advance(64);
    expect([locks.isAwaited('vif3.0'), locks.stand, lost]).toEqual([false, false, []]);
    expect(() => locks.takeAgain()).toThrow(expect.objectContaining({ code: 'ERR_JOURNAL' }));
    host.errno = undefined;
    host.held.delete('vif3.0');
    locks.takeAgain();
    expect([locks.stand, [...host.held.keys()].sort()]).toEqual([true, ['vif1.0', 'vif2.0', 'vif3.0']]);
  });

  it('are lost if a third process gets them', async () => {
    host.held.set(vif.id, 66);
    locks.take(vif, 66);
    host.held.set(vif.id, 77);
    await hypervisor.advance(64);
    expect(lost).toEqual([`${vif.id} ERR_RUNNING`]);
    expect(locks.isAwaited(vif.id)).toBe(false);
  });

  it('are not taken any more once the vif was released', async () => {
    host.held.set(vif.id, 66);
    locks.take(vif, 66);
    locks[Symbol.dispose]();
    host.held.delete(vif.id);
    await hypervisor.advance(500);
    expect(host.held.size).toBe(0);
  });
});
