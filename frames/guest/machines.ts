import { type Machine, modelMachine, xensimMachine } from '../../worlds/model/machine.js';

const TURN_MS = 2;
const PATIENCE_MS = 20_000;

/** @param isTap xensim, where a real tap takes bytes straight out of the guest's pages, in place of the model. */
export function machineFor(isTap: boolean): Machine {
  return isTap ? xensimMachine({ folder: '/dev/shm', settleMs: TURN_MS }) : modelMachine();
}

/** Settles until `holds` returns true. @throws Error after a time that is enough for a slow machine. */
export async function settledUntil(machine: Machine, what: string, holds: () => boolean): Promise<void> {
  const endMs = performance.now() + PATIENCE_MS;
  while (!holds()) {
    if (performance.now() > endMs) throw new Error(`${what} did not come about within ${PATIENCE_MS} ms`);
    await machine.settle();
  }
}
