import { afterAll, describe, expect, it } from 'vitest';
import type { PayloadMode } from '../../lib/netback/settings.js';
import { oldNetback } from './old-code.js';
import { type Arrived, type Found, look, receivedTexts } from './version-checks.js';
import {
  ENDS,
  type End,
  end,
  FRAME_BYTES,
  fill,
  KILLED,
  LEFT,
  postForRest,
  program,
  SENT_BEFORE,
  STOPPED,
  sendBefore,
} from './version-ends.js';
import { VersionTable } from './version-table.js';
import { type Build, RATE, VersionWorld } from './version-world.js';

const COMMIT = '7952fb1';
const PAYLOADS: readonly PayloadMode[] = ['copy', 'map'];
const old = await oldNetback(COMMIT);
const BUILDS: Build[] = [
  ...('Netback' in old ? [{ name: COMMIT, old: old.Netback }] : []),
  { name: 'version 7' },
];
const PAIRS = BUILDS.flatMap((writer) => BUILDS.map((reader) => ({ writer, reader })));

if ('missing' in old) it.skip(`what code of ${COMMIT} left: ${old.missing}`, () => {});

function expectAll({ of, came, repeated }: Arrived, repeatedAtMost: number): void {
  expect(came).toBe(of);
  expect(repeated).toBeLessThanOrEqual(repeatedAtMost);
}

/** The guest has lost nothing. @param sentBefore how many frames it had sent before those of the end. */
function expectKept(found: Found, { sends = 0, repeatedAtMost = 0 }: End, sentBefore: number): void {
  expectAll(found.toGuest, repeatedAtMost);
  expectAll(found.fromGuest, repeatedAtMost);
  expect(found).toMatchObject({ hash: true, multicast: true, staged: { mapped: found.staged.of } });
  const credit = RATE.bytes / FRAME_BYTES - sentBefore - sends;
  expect(found.credit).toBeLessThanOrEqual(credit);
  // Frames that were not answered are taken twice, and count twice.
  expect(found.credit).toBeGreaterThanOrEqual(credit - sends);
}

const pendingOf = (world: VersionWorld, texts: readonly string[]) => {
  const delivered = receivedTexts(world);
  return texts.filter((text) => !delivered.includes(text));
};

describe('a guest that one backend leaves to the next', () => {
  const table = new VersionTable();
  afterAll(() => console.log(table.text()));

  describe.each(PAIRS)('left by $writer.name, found by $reader.name', ({ writer, reader }) => {
    describe.each(PAYLOADS)('payload %s', (payload) => {
      it.each(ENDS)('loses nothing: $name', async (how) => {
        const world = await VersionWorld.open(payload, writer);
        await program(world);
        await sendBefore(world);
        if (!how.fills) {
          fill(world);
          await world.settle();
          // A frame is with each queue of the guest, and the others are in the journals: none waits in the host's end.
          expect(world.received.map((list) => list.length)).toEqual([1, 1]);
          expect(world.host.queues.map(({ queued }) => queued)).toEqual([0, 0]);
        }
        await end(world, how);
        const pending = pendingOf(world, LEFT);
        await world.start(reader);
        const found = await look(world, how, pending);
        table.add({ end: how.name, writer: writer.name, reader: reader.name, payload, found });
        expect(world.errors).toEqual([]);
        expect(world.resumed).toEqual([false, true]);
        expectKept(found, how, SENT_BEFORE);
        await world.stop();
      });
    });
  });

  // Each backend leaves frames of its own.
  const textsOf = (hop: number) => LEFT.map((text) => text.replace('left', `hop ${'abcdefgh'[hop]}`));
  const hops = [...BUILDS, ...BUILDS.toReversed(), ...BUILDS];
  const way = hops.map(({ name }) => name).join(' to ');

  it.each(PAYLOADS)(`loses nothing from ${way}: payload %s`, async (payload) => {
    const world = await VersionWorld.open(payload, hops[0]!);
    await program(world);
    let pending: string[] = [];
    for (const [hop, next] of hops.slice(1).entries()) {
      await sendBefore(world);
      fill(world, textsOf(hop));
      await world.settle();
      await end(world, hop % 2 === 0 ? STOPPED : KILLED);
      pending = pendingOf(world, textsOf(hop));
      expect(pending).toHaveLength(LEFT.length - 2);
      await world.start(next);
      if (hop === hops.length - 2) break;
      postForRest(world, textsOf(hop));
      await world.settle();
      expect(pendingOf(world, textsOf(hop))).toEqual([]);
    }
    expectKept(await look(world, STOPPED, pending), STOPPED, SENT_BEFORE * (hops.length - 1));
    expect(world.errors).toEqual([]);
    expect(world.resumed).toEqual(hops.map((_build, hop) => hop > 0));
    await world.stop();
  });
});
