import { tap } from '../lib/ports/tap.js';
import { FRAMES } from './frames.js';
import { BenchGuest } from './guest.js';
import { TypeScriptLoop } from './loop.js';
import { BACKEND, cxxLoop, GUEST, XENSIM, xensimMachine } from './machines.js';
import { batchesOf, type Cell, type Effort, type Found, measure } from './measure.js';

/**
 * From the guest into a tap: one for each loop, alike. Run in a network namespace of its own, so that no other program
 * sees the frames; the namespace's stack receives each and drops it as meant for another host.
 */
export async function measureTap(effort: Effort): Promise<Found[]> {
  using machine = xensimMachine();
  const guest = new BenchGuest(machine.guest, BACKEND);
  const { txRef, rxRef } = guest;
  const cxx = cxxLoop({ directory: XENSIM, domid: GUEST, txRef, rxRef, tap: 'bench-cxx' });
  await using copyPort = tap({ name: 'bench-copy', up: true });
  await using mapPort = tap({ name: 'bench-map', up: true });
  // As while a guest is connected, and as the C++ loop's tap.
  for (const port of [copyPort, mapPort]) port.setCarrier?.(true);
  const native = new TypeScriptLoop(machine.backend, guest, 'copy', copyPort);
  const map = new TypeScriptLoop(machine.backend, guest, 'map', mapPort);
  const cells = FRAMES.flatMap((frame) =>
    batchesOf(frame).map((batch): Cell => ({ direction: 'from-guest', frame, batch })),
  );
  const found = cells.map((cell) => measure(cell, guest, { cxx, native, map }, effort));
  for (const [name, { dropped }] of [
    ['copy', native.counters.fromGuest],
    ['map', map.counters.fromGuest],
  ] as const) {
    if (dropped > 0) throw new Error(`the tap of payload mode ${name} refused ${dropped} frames`);
  }
  native.close();
  map.close();
  return found;
}
