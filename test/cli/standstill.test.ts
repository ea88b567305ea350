import { expect, it } from 'vitest';
import { watchStandstill } from '../../lib/daemon/standstill.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';

it('reports once that the process did not run for more than a second, and reports no shorter wait', async () => {
  const hypervisor = new ModelHypervisor();
  const model = hypervisor.open(0).clock;
  let stoppedMs = 0;
  const clock = { ...model, now: () => model.now() + stoppedMs };
  const late: number[] = [];
  using _watch = watchStandstill(clock, (ms) => late.push(ms));
  await hypervisor.advance(5000);
  stoppedMs += 900;
  await hypervisor.advance(1000);
  expect(late).toEqual([]);
  stoppedMs += 3000;
  await hypervisor.advance(5000);
  expect(late).toEqual([3000]);
});
