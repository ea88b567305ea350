import { expect } from 'vitest';
import { memoryJournals } from '../../lib/durable/journal.js';
import { Netback } from '../../lib/netback/netback.js';
import { HASH_TYPES } from '../../lib/protocol/control.js';
import { ModelHypervisor, ModelKilled, type ModelXen } from '../../lib/testing/model/index.js';
import { setUpHash } from '../../lib/testing/netfront/hash.js';
import { createVif, Netfront } from '../../lib/testing/netfront/index.js';
import { stageGrants, unstageGrants } from '../../lib/testing/netfront/staged.js';
import { TestPort } from '../../worlds/model/test-port.js';
import { frameOf, IPV4_VECTORS, RSS_KEY } from '../protocol/hash-vectors.js';

const [V4] = IPV4_VECTORS;
/** The next process comes well within the 5 s that Windows waits for a response. */
const RESTART_MS = 400;

/** A guest at work, and the machine that it is on. */
export interface Killed {
  readonly hypervisor: ModelHypervisor;
  readonly guest: ModelXen;
  readonly front: Netfront;
  /** The host's end of the vif. */
  readonly port: TestPort;
}

/** The guest's requests while the backend is killed. @returns a check of their results, for after the kill. */
export type Asking = (world: Killed) => { done: Promise<unknown>; check: () => Promise<void> };

/**
 * Kills the backend at step after step of its work for a guest; the next process continues.
 * @param ringStart where the indices of the guest's rings begin.
 * @returns how many steps there were.
 */
export async function killAtEachStep(asking: Asking, ringStart: number): Promise<number> {
  let step = 1;
  while (await killedAt(step, asking, ringStart)) step++;
  return step;
}

/** @returns whether a process was killed; false when there are fewer steps. */
async function killedAt(step: number, asking: Asking, ringStart: number): Promise<boolean> {
  const hypervisor = new ModelHypervisor();
  const toolstack = hypervisor.open(0);
  const port = new TestPort();
  const journals = memoryJournals();
  const errors: string[] = [];
  const creating = createVif(toolstack.store, { domid: 7, handle: 0, mac: '00:16:3e:00:00:07' });
  await hypervisor.settle();
  await creating;
  let steps = 0;
  let armed = false;
  const onStep = (what: string) => {
    if (armed && ++steps === step) throw new ModelKilled(what);
  };
  const live = (xen: ModelXen) =>
    Netback.open(
      { xen, port: () => port, payload: 'copy', journals },
      { error: (error) => (xen.alive ? errors.push(error.message) : 0) },
    );
  const first = hypervisor.open(0, { onStep });
  const opening = live(first);
  const guest = hypervisor.open(7);
  const connecting = Netfront.connect({
    xen: guest,
    domid: 7,
    handle: 0,
    port: new TestPort(),
    control: true,
    ringStart,
  });
  await hypervisor.settle();
  const [front] = await Promise.all([connecting, opening]);

  armed = true;
  const { done, check } = asking({ hypervisor, guest, front, port });
  await hypervisor.settle();
  armed = false;
  const killed = !first.alive;
  if (killed) {
    await hypervisor.advance(RESTART_MS);
    const reopening = live(hypervisor.open(0));
    await hypervisor.settle();
    await reopening;
    await hypervisor.settle();
  }
  await done;
  await check();
  expect(front.violations.list).toEqual([]);
  expect(front.control?.outstanding).toBe(0);
  expect(errors).toEqual([]);
  return killed;
}

/** Sets up hashing; frames then come with their hash. */
export const hashing: Asking = ({ hypervisor, front, port }) => {
  const setUp = { types: HASH_TYPES, key: RSS_KEY, mapping: [0, 0, 0] };
  front.hash.expect(setUp);
  const done = setUpHash(front.control!, setUp);
  const check = async () => {
    expect(await done).toBe(true);
    port.put(frameOf(V4));
    await hypervisor.settle();
    expect(front.hash.counts.hashed).toBe(1);
  };
  return { done, check };
};

/** Adds grants and removes one: that one can be ended then, and the others cannot. */
export const staging: Asking = ({ guest, front }) => {
  const pages = guest.shares.allocate(3);
  const refs = [0, 1, 2].map((page) => pages.grant(page, 0, page === 0 ? 'read' : 'write'));
  const control = front.control!;
  const work = async () => [
    await stageGrants(control, 0, refs.slice(0, 1), 'read'),
    await stageGrants(control, 0, refs.slice(1), 'write'),
    await unstageGrants(control, 0, refs.slice(1, 2)),
  ];
  const done = work();
  const check = async () => {
    expect(await done).toEqual([true, true, 1]);
    expect(refs.map((ref) => pages.end(ref))).toEqual([false, true, false]);
  };
  return { done, check };
};
