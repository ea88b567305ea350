import { expect } from 'vitest';
import { memoryJournals } from '../../lib/netback/journal.js';
import { Netback } from '../../lib/netback/netback.js';
import { setUpHash } from '../../lib/netfront/hash.js';
import { Netfront } from '../../lib/netfront/index.js';
import { createVif } from '../../lib/netfront/toolstack.js';
import { HASH_TYPES } from '../../lib/protocol/control.js';
import { ModelHypervisor, ModelKilled } from '../../lib/xen/model/index.js';
import { frameOf, IPV4_VECTORS, RSS_KEY } from '../protocol/hash-vectors.js';
import { TestPort } from './raw-guest.js';

const [V4] = IPV4_VECTORS;
/** A next life comes well within the 5 s that Windows gives an answer. */
const RESTART_MS = 400;
const MAPPING = [0, 0, 0];

/**
 * A guest sets up hashing while the backend is killed at step after step; the next life goes on.
 * @returns how many steps there were.
 */
export async function killAtEachStep(): Promise<number> {
  let step = 1;
  while (await killedAt(step)) step++;
  return step;
}

/** @returns whether a life was killed: the step was there. */
async function killedAt(step: number): Promise<boolean> {
  const hypervisor = new ModelHypervisor();
  const toolstack = hypervisor.open(0);
  const port = new TestPort();
  const journals = memoryJournals();
  const errors: string[] = [];
  await Promise.all([
    createVif(toolstack.store, { domid: 7, handle: 0, mac: '00:16:3e:00:00:07' }),
    hypervisor.settle(),
  ]);
  let steps = 0;
  let armed = false;
  const first = hypervisor.open(0, {
    onStep: (what) => {
      if (armed && ++steps === step) throw new ModelKilled(what);
    },
  });
  const life = (xen: typeof first) =>
    Netback.open(
      { xen, port: () => port, payload: 'copy', journals },
      { error: (error) => (xen.alive ? errors.push(error.message) : 0) },
    );
  const opening = life(first);
  const guest = hypervisor.open(7);
  const network = new TestPort();
  const connecting = Netfront.connect({ xen: guest, domid: 7, handle: 0, port: network, control: true });
  await hypervisor.settle();
  const [front] = await Promise.all([connecting, opening]);
  const setUp = { types: HASH_TYPES, key: RSS_KEY, mapping: MAPPING };
  front.hash.expect(setUp);
  armed = true;
  const settingUp = setUpHash(front.control!, setUp);
  await hypervisor.settle();
  armed = false;
  const killed = !first.alive;
  if (killed) await hypervisor.advance(RESTART_MS);
  const reopening = killed ? life(hypervisor.open(0)) : opening;
  await hypervisor.settle();
  await reopening;
  await hypervisor.settle();
  expect(await settingUp).toBe(true);
  port.put(frameOf(V4));
  await hypervisor.settle();
  expect(front.violations.list).toEqual([]);
  expect([front.control?.outstanding, front.hash.counts.hashed]).toEqual([0, 1]);
  expect(errors).toEqual([]);
  return killed;
}
