import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { takeRunLock } from '../../lib/host/run-lock.js';
import { Netback, type NetbackOptions } from '../../lib/netback/netback.js';
import { ModelHypervisor, type ModelXen } from '../../lib/testing/model/index.js';
import { RawGuest } from '../../worlds/model/raw-guest.js';
import { TestPort } from '../../worlds/model/test-port.js';
import { whyNoAddon } from '../native/reason.js';

describe('what a netback keeps for the next process', () => {
  let hypervisor: ModelHypervisor;
  let xen: ModelXen;
  let guest: RawGuest;
  beforeEach(async () => {
    hypervisor = new ModelHypervisor();
    xen = hypervisor.open(0);
    guest = new RawGuest(hypervisor.open(7));
    await settled(guest.connect(xen));
  });

  const settled = async <T>(work: PromiseLike<T>): Promise<T> => {
    await hypervisor.settle();
    return work;
  };
  const open = (options: Partial<NetbackOptions> = {}) =>
    settled(Netback.open({ xen, port: () => new TestPort(), ...options }));
  const hasJournal = (netback: Netback) => netback.vifs.get('vif7.0')?.show().connection?.journal;
  const resumes = (netback: Netback) => netback.vifs.get('vif7.0')?.show().connection?.resumes;

  it('is the journals of the model by default, which the next process resumes', async () => {
    const first = await open();
    expect([hasJournal(first), resumes(first)]).toEqual([true, 0]);
    guest.send([{ page: 0 }]);
    await hypervisor.settle();
    hypervisor.kill(xen);
    xen = hypervisor.open(0);
    const second = await open();
    expect([hasJournal(second), resumes(second)]).toEqual([true, 1]);
    await settled(second[Symbol.asyncDispose]());
  });

  it('is nothing if the program wants no journals', async () => {
    const netback = await open({ journals: false });
    expect(hasJournal(netback)).toBe(false);
    await settled(netback[Symbol.asyncDispose]());
  });

  describe.skipIf(whyNoAddon() !== undefined)('in a runtime directory', () => {
    let runtimeDirectory: string;
    beforeAll(() => {
      runtimeDirectory = mkdtempSync(join(tmpdir(), 'vifd-runtime-'));
    });
    afterAll(() => rmSync(runtimeDirectory, { recursive: true }));

    it('is locked from the start until the end', async () => {
      const netback = await open({ runtimeDirectory });
      expect(hasJournal(netback)).toBe(true);
      expect(() => takeRunLock(runtimeDirectory)).toThrow(expect.objectContaining({ code: 'ERR_RUNNING' }));
      await settled(netback[Symbol.asyncDispose]());
      takeRunLock(runtimeDirectory)[Symbol.dispose]();
    });

    it('is not locked by a netback that did not open', async () => {
      const store = new Proxy(xen.store, {
        get: (target, name) => {
          if (name === 'watch') return () => Promise.reject(new Error('no watch'));
          const value: unknown = Reflect.get(target, name);
          return typeof value === 'function' ? value.bind(target) : value;
        },
      });
      const unwatched = Object.create(xen, { store: { value: store } });
      const options = { xen: unwatched, port: () => new TestPort(), runtimeDirectory };
      await settled(expect(Netback.open(options)).rejects.toThrow('no watch'));
      takeRunLock(runtimeDirectory)[Symbol.dispose]();
    });

    it('is not locked by a netback whose port could not be closed', async () => {
      const port = new TestPort();
      port[Symbol.asyncDispose] = () => Promise.reject(new Error('no close'));
      const errors: string[] = [];
      const netback = await settled(
        Netback.open(
          { xen, port: () => port, runtimeDirectory },
          { error: ({ message }) => errors.push(message) },
        ),
      );
      await settled(netback[Symbol.asyncDispose]());
      expect(errors).toEqual([expect.stringContaining('no close')]);
      takeRunLock(runtimeDirectory)[Symbol.dispose]();
    });
  });
});
