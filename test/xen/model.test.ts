import { describe } from 'vitest';
import { addon } from '../../lib/addon.js';
import type { HostCall } from '../../lib/testing/model/faults.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import type { StoredEvents } from '../../lib/xen/seam.js';
import { handleDescriptors } from '../../worlds/model/handle-descriptors.js';
import { storeContract } from '../store/contract.js';
import { type XenPair, xenContract } from './contract.js';

/** The contract leaves shared pages granted, which is no leak. It must release ports, mappings and watches. */
async function open(seed: number | undefined, autorun: boolean): Promise<XenPair> {
  const failing = new Map<HostCall, string>();
  const faults = { host: (call: HostCall, domid: number) => (domid === 0 ? failing.get(call) : undefined) };
  const hypervisor = new ModelHypervisor({
    ...(seed === undefined ? {} : { seed }),
    ...{ autorun, faults },
    descriptors: handleDescriptors,
  });
  const backend = hypervisor.open(0);
  const frontend = hypervisor.open(7);
  return {
    backend,
    frontend,
    settle: () => hypervisor.settle(),
    fail: (call, errno) => void failing.set(call, errno),
    heal: () => failing.clear(),
    killedAfterBinding: (remotePorts) => killedAfterBinding(hypervisor, remotePorts),
    close: async () => {
      await backend[Symbol.asyncDispose]();
      await frontend[Symbol.asyncDispose]();
    },
  };
}

async function killedAfterBinding(
  hypervisor: ModelHypervisor,
  remotePorts: readonly number[],
): Promise<StoredEvents> {
  const xen = hypervisor.open(0);
  const events = xen.openLastingEvents!();
  let read = 0;
  for (const port of remotePorts) events.bind(7, port, () => read++);
  for (let rounds = 0; rounds < 100 && read < remotePorts.length; rounds++) await hypervisor.settle();
  const { descriptor, ports } = events.stored;
  const duplicate = handleDescriptors.duplicate(descriptor);
  xen.kill();
  return { descriptor: duplicate, ports };
}

/** A host without the addon has no descriptors that can pass between processes. */
function missing(): string | undefined {
  try {
    addon();
    return undefined;
  } catch {
    return 'the addon is not built: npm run build:native';
  }
}

describe('the model keeps the contract', () => {
  xenContract('in the order of sending', () => open(undefined, false), undefined, missing());
  xenContract('in an order that a seed decides', () => open(12, false), undefined, missing());
  xenContract('by itself', () => open(3, true), undefined, missing());
  storeContract('in the store of a process', async () => {
    const hypervisor = new ModelHypervisor({ seed: 4, autorun: true });
    return { open: async (domid) => hypervisor.open(domid).store, [Symbol.asyncDispose]: async () => {} };
  });
});
