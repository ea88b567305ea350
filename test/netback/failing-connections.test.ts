import { afterEach, expect, it } from 'vitest';
import { ToolstackWorld } from './toolstack-world.js';

let world: ToolstackWorld;
afterEach(() => world.close());

it('a connection that fails again and again is attached to once a second, however often the store changes', async () => {
  let attached = 0;
  world = await new ToolstackWorld().open({
    // Removes the connection's memory, as `transfer()` in a worker's message does.
    hook: ({ bytes }) => {
      structuredClone(bytes.buffer, { transfer: [bytes.buffer as ArrayBuffer] });
      return 'pass';
    },
  });
  world.netback.on('attached', () => {
    attached++;
  });
  await world.addVif(7);
  const guest = await world.connect(7);
  // A change of the guest's every 50 ms leads to a look each, and each look finds a guest that is connected and not served.
  for (let ms = 0; ms < 5000; ms += 50) {
    guest.send([{ size: 60 }]);
    await world.write(`${world.frontend(7)}/state`, '4');
    await world.hypervisor.advance(50);
  }
  // 5 at once, then one a second.
  expect(attached).toBeGreaterThanOrEqual(8);
  expect(attached).toBeLessThanOrEqual(14);
});
