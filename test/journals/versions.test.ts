import { afterAll, describe, expect, it } from 'vitest';
import { countersNameOf } from '../../lib/durable/journal.js';
import { HEAD, JOURNAL_VERSION, JOURNAL_VERSIONS } from '../../lib/durable/layout.js';
import { Netback } from '../../lib/netback/netback.js';
import type { PayloadMode } from '../../lib/netback/settings.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { TestPort } from '../../worlds/model/test-port.js';
import { oldNetback } from './old-code.js';
import { type Arrived, type Found, look, receivedTexts } from './version-checks.js';
import {
  ENDS,
  type End,
  end,
  FRAME_BYTES,
  fill,
  flowFrame,
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
const OLD: Build[] = 'Netback' in old ? [{ name: COMMIT, old: old.Netback }] : [];
const TODAY: Build[] = JOURNAL_VERSIONS.map((journalVersion) => ({
  name: `version ${journalVersion}`,
  options: { journalVersion },
}));
/** Code of 7952fb1 writes version 7, and reads no other. */
const versionOf = ({ options }: Build) => options?.journalVersion ?? 7;
const isReadable = ({ writer, reader }: Pair) => reader.old === undefined || versionOf(writer) === 7;

interface Pair {
  readonly writer: Build;
  readonly reader: Build;
}

const BUILDS = [...OLD, ...TODAY];
const PAIRS: Pair[] = BUILDS.flatMap((writer) => BUILDS.map((reader) => ({ writer, reader })));
const READABLE = PAIRS.filter(isReadable);
const UNREADABLE = PAIRS.filter((pair) => !isReadable(pair));

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
  // Frames without a response are taken twice, and count twice.
  expect(found.credit).toBeGreaterThanOrEqual(credit - sends);
}

/** The content of the journal is lost; the guest's connection continues. */
function expectLost(found: Found, { sends = 0 }: End): void {
  expect(found).toMatchObject({ hash: false, multicast: false, staged: { mapped: 0 } });
  expect(found.toGuest.came).toBe(0);
  expect(found.credit).toBeGreaterThanOrEqual(RATE.bytes / FRAME_BYTES - sends);
}

const pendingOf = (world: VersionWorld, texts: readonly string[]) => {
  const delivered = receivedTexts(world);
  return texts.filter((text) => !delivered.includes(text));
};

/** A world whose backend has ended. @returns also the texts of the frames that were pending for the guest. */
async function leftBy(writer: Build, payload: PayloadMode, how: End) {
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
  return { world, pending: pendingOf(world, LEFT) };
}

// A TCP segment of the host's for a guest that does not take GSO.
const [GSO_HEADERS, GSO_SIZE] = [54, 1000];
const SEGMENT = GSO_HEADERS + GSO_SIZE;
/** A virtio_net_hdr: checksum open at 34, its place 16; TCPv4. */
const GSO_HEADER = [1 | (1 << 8) | (GSO_HEADERS << 16), GSO_SIZE | (34 << 16), 16];

function gsoFrame(segments: number): Uint8Array {
  const frame = Buffer.alloc(GSO_HEADERS + segments * GSO_SIZE);
  Buffer.from('00163e00000702000000000108004500', 'hex').copy(frame);
  frame.writeUInt16BE(frame.length - 14, 16);
  Buffer.from('400040060000', 'hex').copy(frame, 20);
  Buffer.from('0a0900010a090002', 'hex').copy(frame, 26);
  Buffer.from('13880050', 'hex').copy(frame, 34);
  frame[46] = 0x50;
  frame[47] = 0x10;
  return frame;
}

describe('a guest that one backend detaches from and the next attaches to', () => {
  const table = new VersionTable();
  afterAll(() => console.log(table.text()));

  describe.each(READABLE)('left by $writer.name, found by $reader.name', ({ writer, reader }) => {
    describe.each(PAYLOADS)('payload %s', (payload) => {
      it.each(ENDS)('loses nothing: $name', async (how) => {
        const { world, pending } = await leftBy(writer, payload, how);
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

  const CONVERSIONS = READABLE.filter(
    ({ writer, reader }) => reader.old === undefined && versionOf(writer) !== versionOf(reader),
  );

  it.each(CONVERSIONS)(
    'loses nothing, at whichever step $reader.name is killed while it resumes what $writer.name left',
    async ({ writer, reader }) => {
      let step = 0;
      for (let isKilled = true; isKilled; ) {
        const { world, pending } = await leftBy(writer, 'copy', STOPPED);
        step += 1;
        isKilled = await world.startAndKill(reader, step);
        if (isKilled) await world.start(TODAY[step % TODAY.length]!);
        expectKept(await look(world, STOPPED, pending), STOPPED, SENT_BEFORE);
        expect(world.errors).toEqual([]);
        await world.stop();
      }
      // Journals are opened, rings and channels mapped, staged grants mapped again, and the guest is notified.
      expect(step).toBeGreaterThan(30);
    },
  );

  // What `--journal-version 7` is for.
  describe.each(UNREADABLE)('left by $writer.name, found by $reader.name', ({ writer, reader }) => {
    describe.each(PAYLOADS)('payload %s', (payload) => {
      const cell = (how: End) => ({ end: how.name, writer: writer.name, reader: reader.name, payload });

      it.each(ENDS.filter(({ tears }) => !tears))('loses what the journals have: $name', async (how) => {
        const { world, pending } = await leftBy(writer, payload, how);
        await world.start(reader);
        const found = await look(world, how, pending);
        table.add({ ...cell(how), found });
        expect(world.errors.map(({ message }) => message)).toEqual([
          'vif7.0: its journal is of another connection and was ignored',
        ]);
        expect(world.resumed).toEqual([false, true]);
        expectLost(found, how);
        await world.stop();
      });

      it.each(ENDS.filter(({ tears }) => tears))('loses its vif: $name', async (how) => {
        const { world } = await leftBy(writer, payload, how);
        await world.start(reader);
        world.put([flowFrame('to the guest, late 0', 0)]);
        await world.settle();
        table.add({ ...cell(how), found: 'stopped' });
        const [, stopped, ...more] = world.errors.map(({ message }) => message);
        expect(stopped).toMatch(/^vif7\.0 stopped: queue 0: .* bad grant reference/);
        expect(more).toEqual([]);
      });
    });
  });

  // Words that commits of version 7 after 7952fb1 added mean nothing to that one (docs/journal.md, "Versions").
  const withoutGso = { 'feature-gso-tcpv4': '0', 'feature-gso-tcpv6': '0' };
  it.each([...TODAY, ...OLD])('gets the segments of a pending GSO frame from $name', async (reader) => {
    const world = await VersionWorld.open('copy', TODAY[0]!, withoutGso);
    world.host.queues[0]!.put(gsoFrame(4), GSO_HEADER);
    await world.settle();
    world.guest.post(0, 2);
    await world.settle();
    const lengths = () => world.guest.received(0).map((frame) => frame.length);
    expect(lengths()).toEqual([SEGMENT, SEGMENT]);
    await end(world, STOPPED);
    await world.start(reader);
    world.guest.post(0, 4);
    await world.settle();
    const rest = reader.old === undefined ? [SEGMENT, SEGMENT] : [GSO_HEADERS + 4 * GSO_SIZE];
    expect(lengths()).toEqual([SEGMENT, SEGMENT, ...rest]);
    expect(world.errors).toEqual([]);
    await world.stop();
  });

  // Each backend leaves frames of its own.
  const textsOf = (hop: number) => LEFT.map((text) => text.replace('left', `hop ${'abcdefgh'[hop]}`));
  // From the oldest to the newest and back, each written by the version that the next one reads.
  const hops = [...OLD, ...TODAY, ...TODAY.toReversed(), ...OLD, ...TODAY];
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

describe('a guest whose journals have a version that no vifd knows yet', () => {
  const NEXT = JOURNAL_VERSION + 1;

  describe.each(TODAY)('found by $name', (reader) => {
    it.each([STOPPED, KILLED])(
      'loses what they have, and the backend reports it once: $name',
      async (how) => {
        const { world, pending } = await leftBy(TODAY.at(-1)!, 'copy', how);
        const counters = countersNameOf('vif7.0');
        for (const name of world.journals.names('vif7.0'))
          if (name !== counters) world.journal(name).writeUInt32LE(NEXT, HEAD.at.version * 4);
        await world.start(reader);
        expectLost(await look(world, how, pending), how);
        expect(world.errors).toEqual([
          expect.objectContaining({
            code: 'ERR_JOURNAL_VERSION',
            vif: 'vif7.0',
            message: expect.stringContaining(`version ${NEXT}, and this vifd reads 7 and 8`),
          }),
        ]);
        await world.stop();
      },
    );
  });
});

it.each([6, 9, 7.5])(
  'a Netback refuses to write version %d, and names those that it writes',
  async (version) => {
    const xen = new ModelHypervisor().open(0);
    const options = { xen, port: () => new TestPort(), journalVersion: version as never };
    await expect(Netback.open(options)).rejects.toMatchObject({
      code: 'ERR_ARGUMENT',
      message: `${version} is no version of journals that this vifd writes: give 8, or 7 before a change to an older vifd, which does not read 8.`,
    });
  },
);
