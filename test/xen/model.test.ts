import { describe } from 'vitest';
import type { HostCall } from '../../lib/testing/model/faults.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { storeContract } from '../store/contract.js';
import { type XenPair, xenContract } from './contract.js';

/** The contract leaves shared pages granted, which is no leak. It must release ports, mappings and watches. */
async function open(seed: number | undefined, autorun: boolean): Promise<XenPair> {
  const failing = new Map<HostCall, string>();
  const faults = { host: (call: HostCall, domid: number) => (domid === 0 ? failing.get(call) : undefined) };
  const hypervisor = new ModelHypervisor({ ...(seed === undefined ? {} : { seed }), autorun, faults });
  const backend = hypervisor.open(0);
  const frontend = hypervisor.open(7);
  return {
    backend,
    frontend,
    settle: () => hypervisor.settle(),
    fail: (call, errno) => void failing.set(call, errno),
    heal: () => failing.clear(),
    close: async () => {
      await backend[Symbol.asyncDispose]();
      await frontend[Symbol.asyncDispose]();
    },
  };
}

describe('the model keeps the contract', () => {
  xenContract('in the order of sending', () => open(undefined, false));
  xenContract('in an order that a seed decides', () => open(12, false));
  xenContract('by itself', () => open(3, true));
  storeContract('in the store of a process', async () => {
    const hypervisor = new ModelHypervisor({ seed: 4, autorun: true });
    return { open: async (domid) => hypervisor.open(domid).store, [Symbol.asyncDispose]: async () => {} };
  });
});
