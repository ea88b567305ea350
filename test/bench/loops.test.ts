import { existsSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BenchGuest } from '../../bench/guest.js';
import { TypeScriptLoop } from '../../bench/loop.js';
import {
  BACKEND,
  type BenchMachine,
  type CxxLoop,
  cxxLoop,
  GUEST,
  XENSIM,
  xensimMachine,
} from '../../bench/machines.js';
import { cellsOf } from '../../bench/measure.js';
import { SUBJECTS } from '../../bench/subjects.js';
import { verifySame } from '../../bench/verify.js';

const missing = ['build/Release/bench.node', 'build/Release/xensim/libxengnttab.so.1'].find(
  (file) => !existsSync(file),
);
const TIMEOUT_MS = 60_000;
const EFFORT = { rounds: 2, roundMs: 0.01, warmUpMs: 1, garbageMs: 1 };

describe.skipIf(missing !== undefined)('the loops of the bench', () => {
  it.each(SUBJECTS.filter(({ network }) => !network))(
    'do the same as C++, if both run, and are measured: $name',
    { timeout: TIMEOUT_MS },
    async ({ name, cells, measure }) => {
      // Mapped frames, one at a time, would take most of the test's time.
      const some = cells.filter(({ batch }) => batch > 1);
      const found = await measure(some, EFFORT);
      expect(found.map(({ direction, frame, batch }) => `${direction} ${frame} ${batch}`)).toEqual(
        some.map(({ direction, frame, batch }) => `${direction} ${frame.name} ${batch}`),
      );
      for (const { samples, garbage } of found) {
        expect(samples[name]).toHaveLength(EFFORT.rounds);
        for (const ns of Object.values(samples).flat()) expect(ns).toBeGreaterThan(0);
        expect(garbage?.batches).toBeGreaterThan(0);
      }
    },
  );

  describe('with a guest', () => {
    let machine: BenchMachine;
    let guest: BenchGuest;
    let cxx: CxxLoop;
    let native: TypeScriptLoop;
    beforeEach(() => {
      machine = xensimMachine();
      guest = new BenchGuest(machine.guest, BACKEND);
      const { txRef, rxRef } = guest;
      cxx = cxxLoop({ directory: XENSIM, domid: GUEST, txRef, rxRef });
      const journals = machine.journals();
      native = new TypeScriptLoop({ grants: machine.backend, guest, payload: 'copy', journals });
    });
    afterEach(() => {
      native.close();
      machine[Symbol.dispose]();
    });

    it('are refused if one of them leaves another frame behind', () => {
      const [cell] = cellsOf('from-guest');
      expect(() => verifySame(cell, guest, cxx, native)).not.toThrow();
      const wrong: CxxLoop = {
        fromGuest: (slots, step) => cxx.fromGuest(slots, step),
        toGuest: (frames, step) => cxx.toGuest(frames, step),
        setSource: (bytes) => cxx.setSource(bytes),
        delivered: () => cxx.delivered(),
        lastFrames: () =>
          cxx.lastFrames().map((bytes) => bytes.map((byte, i) => (i === 20 ? byte ^ 1 : byte))),
      };
      expect(() => verifySame(cell, guest, wrong, native)).toThrow(
        'from-guest, 60 B, batch 1: C++ and TypeScript differ',
      );
    });

    it('are refused if one of them leaves other bytes in the guest’s buffers', () => {
      const cell = cellsOf('to-guest').at(-1)!;
      expect(() => verifySame(cell, guest, cxx, native)).not.toThrow();
      const wrong: CxxLoop = {
        fromGuest: (slots, step) => cxx.fromGuest(slots, step),
        toGuest: (frames, step) => cxx.toGuest(frames, step),
        setSource: (bytes) => cxx.setSource(bytes.map((byte, i) => (i === 5000 ? byte ^ 1 : byte))),
        delivered: () => cxx.delivered(),
        lastFrames: () => cxx.lastFrames(),
      };
      expect(() => verifySame(cell, guest, wrong, native)).toThrow('to-guest, 64 KiB, batch 14');
    });
  });
});
