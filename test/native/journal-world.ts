import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect } from 'vitest';
import type { Journals } from '../../lib/durable/journal.js';
import type { VifdError } from '../../lib/errors.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { createVif, Netfront, TrafficPort } from '../../lib/testing/netfront/index.js';
import { modelMachine } from '../../worlds/model/machine.js';
import { ModelWorld } from '../../worlds/model/model-world.js';

/** Each way, in each process. */
export const FRAMES = 300;
export const JOURNAL = 'vif7.0.q0.journal';

/**
 * Serves a guest under load by backend processes, one after the other, with the same journals. Each has delivered all frames when it stops.
 * @param between runs between two processes.
 * @returns the errors that each process reported.
 */
export async function serve(journals: Journals, processes: number, between = () => {}) {
  const hypervisor = new ModelHypervisor();
  const world = new ModelWorld(modelMachine(hypervisor), hypervisor.open(0));
  world.journals = journals;
  const host = new TrafficPort({ generate: { seed: 2, sizes: [60, 9000], frames: 0 }, check: { seed: 1 } });
  const guest = new TrafficPort({ generate: { seed: 1, sizes: [60, 9000], frames: 0 }, check: { seed: 2 } });
  await world.settled(createVif(world.toolstack.store, { domid: 7, handle: 0, mac: '00:16:3e:00:00:07' }));
  const connecting = Netfront.connect({ xen: hypervisor.open(7), handle: 0, port: guest });
  const reported: string[][] = [];
  const attached: boolean[] = [];
  for (let number = 0; number < processes; number++) {
    if (number > 0) between();
    const errors: VifdError[] = [];
    await world.begin(
      { port: () => host },
      { error: (error) => errors.push(error), attached: (_vif, { resumed }) => attached.push(resumed) },
    );
    guest.send(FRAMES);
    host.send(FRAMES);
    await world.settle();
    await world.settled(world.netback[Symbol.asyncDispose]());
    reported.push(errors.map(({ code, message }) => `${code}: ${message}`));
  }
  const front = await connecting;
  const all = { next: FRAMES * processes, lost: 0, repeated: 0, damaged: 0, foreign: 0 };
  expect(front.violations.list).toEqual([]);
  expect(host.checker?.counts).toMatchObject(all);
  expect(guest.checker?.counts).toMatchObject(all);
  expect(attached).toEqual(Array.from({ length: processes }, (_, number) => number > 0));
  return reported;
}

export function inDirectory(register: (directory: () => string) => void): void {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'vifd-hostile-'));
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));
  register(() => directory);
}
