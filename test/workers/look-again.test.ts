import { expect, it } from 'vitest';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { LookAgain } from '../../lib/workers/look-again.js';

it('vifs are looked for at once when a worker asks for that, but only four times a second, whatever it asks', async () => {
  const hypervisor = new ModelHypervisor();
  let looks = 0;
  const again = new LookAgain(hypervisor.open(0).clock, () => looks++);
  const ask = async () => {
    for (let i = 0; i < 100; i++) again.ask();
    await hypervisor.advance(10);
  };
  await ask();
  expect(looks).toBe(1);
  for (let i = 0; i < 100; i++) await ask();
  expect(looks).toBe(5);
  await hypervisor.advance(1000);
  expect(looks).toBe(6);
  await ask();
  expect(looks).toBe(7);
  again.ask();
  again[Symbol.dispose]();
  await hypervisor.advance(1000);
  expect(looks).toBe(7);
});
