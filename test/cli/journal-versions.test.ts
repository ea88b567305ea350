import { createSocket } from 'node:dgram';
import { appendFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { countersNameOf } from '../../lib/durable/journal.js';
import { HEAD, JOURNAL_VERSION, JOURNAL_VERSION_BEFORE } from '../../lib/durable/layout.js';
import type { ConnectionDetails } from '../../lib/netback/show.js';
import { openXen } from '../../lib/xen/native/open.js';
import type { Xen } from '../../lib/xen/seam.js';
import { openStore } from '../../lib/xen/store/client.js';
import { XENSIM_LIBRARIES } from '../../worlds/places.js';
import { Guest } from '../journals/guest.mjs';
import { HASH, LISTED, placeOf } from '../journals/version-ends.js';
import { GUEST_MAC, type LinksWorld, type Program, START_MS, withLinks } from './links-world.js';

const ADDRESSES = [2, 3, 4, 5].map((last) => `10.7.0.${last}`);
const TEXTS = Array.from({ length: 12 }, (_, i) => `to the guest, frame ${i}`);
/** One queue, because frames in a tap with several queues do not concern the journals. */
const ONE_QUEUE = { ...HASH, mapping: HASH.mapping.map(() => 0) };
const STAGED = [500, 501, 502];
/** With its hash, a frame takes two of the guest's slots. */
const SLOTS_A_FRAME = 2;
const WHOLE_TEST_MS = 60_000;

withLinks(import.meta.url, 'journals of several versions', (world) => {
  const folder = () => join(world.directory, 'j');
  /** The journals of the connection. */
  const journals = () => {
    const counters = `${countersNameOf('vif7.0')}.journal`;
    return readdirSync(folder()).filter((name) => name.endsWith('.journal') && name !== counters);
  };
  const versions = () => {
    const words = journals().map((name) =>
      readFileSync(join(folder(), name)).readUInt32LE(HEAD.at.version * 4),
    );
    return [...new Set(words)];
  };
  let xen: Xen;
  let guest: Guest;
  let vifd: Program;

  /** Begins a process of vifd and waits until it has attached. */
  async function start(args: readonly string[] = [], variables: readonly string[] = []): Promise<Program> {
    const options = ['--queues', '1', ...args];
    vifd = world.vifd(options, 'j', variables.length === 0 ? [] : ['env', ...variables]);
    await vifd.until('attached');
    return vifd;
  }

  beforeEach(async () => {
    for (const address of ADDRESSES.slice(1))
      world.ip('neighbour', 'replace', address, 'lladdr', GUEST_MAC, 'dev', 'br0', 'nud', 'permanent');
    await world.newVif({ bridge: 'br0' });
    // The simulated Xen reads from the environment which domain opens it, and vifd inherits that.
    Object.assign(process.env, { XENSIM: world.directory, XENSIM_DOMID: '7' });
    const store = await openStore({ path: join(world.directory, 'store-7') });
    xen = await openXen({ libraries: XENSIM_LIBRARIES, domid: 7, store });
    delete process.env.XENSIM_DOMID;
    guest = new Guest(xen as ConstructorParameters<typeof Guest>[0], {
      ...{ queues: 1, split: true, control: true, pages: 512 },
      keys: { 'request-multicast-control': '1' },
    });
  });
  afterEach(async () => {
    await xen[Symbol.asyncDispose]();
  });

  /** Connects a guest, which programs its backend; then frames wait for buffers. */
  async function prepare(): Promise<void> {
    const attached = start();
    await expect.poll(() => world.store.read('/local/domain/0/backend/vif/7/0/state')).toBe('2');
    await guest.connect(xen.store, '/local/domain/7/device/vif/0');
    await attached;
    await guest.setHash(ONE_QUEUE);
    await guest.stage(0, STAGED, 'write');
    await guest.multicast(LISTED, true);
    await expect.poll(() => world.ip('link', 'show', 'vif7.0'), { timeout: START_MS }).toContain('state UP');
    await hold(world, guest, vifd);
  }

  const shown = () => world.shown()?.connection as ConnectionDetails;

  /** The state that a restart must not change. */
  function remembered() {
    const { hash, multicast, queues } = shown();
    return {
      ...{ hash, multicast },
      queues: queues.map(({ pendingFrames, stagedGrants }) => ({ pendingFrames, stagedGrants })),
    };
  }

  it(
    'are written for an older vifd when that is asked for, and again for this one: the guest loses nothing',
    async () => {
      await prepare();
      const before = remembered();
      expect(before).toMatchObject({
        hash: { algorithm: 'toeplitz', key: HASH.key.toString('hex'), mapping: ONE_QUEUE.mapping },
        multicast: { addresses: [LISTED] },
        queues: [{ pendingFrames: TEXTS.length - 1, stagedGrants: STAGED.length }],
      });
      expect(versions()).toEqual([JOURNAL_VERSION]);

      const older = `${JOURNAL_VERSION_BEFORE}`;
      const steps: [signal: NodeJS.Signals, args: string[], variables: string[], version: number][] = [
        ['SIGTERM', ['--journal-version', older], [], JOURNAL_VERSION_BEFORE],
        ['SIGKILL', [], [], JOURNAL_VERSION],
        ['SIGKILL', [], [`VIFD_JOURNAL_VERSION=${older}`], JOURNAL_VERSION_BEFORE],
        ['SIGTERM', [], [], JOURNAL_VERSION],
      ];
      for (const [signal, args, variables, version] of steps) {
        await vifd.end(signal);
        await start(args, variables);
        expect(vifd.lines.find(({ event }) => event === 'attached')).toMatchObject({ resumed: true });
        expect(versions()).toEqual([version]);
        expect(remembered()).toEqual(before);
        expect(vifd.messages('error')).toEqual([]);
      }

      guest.post(0, SLOTS_A_FRAME * TEXTS.length);
      await expect.poll(() => receivedTexts(guest), { timeout: START_MS }).toEqual(TEXTS);
      for (const frame of guest.received(0)) expect(frame.hash).toBe(placeOf(frame, HASH.key).hash);
    },
    WHOLE_TEST_MS,
  );

  it.each<[what: string, lengthen: number]>([
    ['of the length that this vifd has', 0],
    ['of another length', 4096],
  ])(
    'that this vifd does not know, %s, are reported once, with the vif, the versions and the remedy',
    async (_what, lengthen) => {
      await prepare();
      await vifd.end('SIGTERM');
      for (const name of journals()) {
        const file = join(folder(), name);
        const bytes = readFileSync(file);
        bytes.writeUInt32LE(JOURNAL_VERSION + 1, HEAD.at.version * 4);
        writeFileSync(file, bytes);
        appendFileSync(file, Buffer.alloc(lengthen));
      }
      await start();
      await vifd.until('ready');
      const errors = vifd.lines.filter(({ event, code }) => event === 'error' && code !== 'ERR_TAP_LIMIT');
      expect(errors).toEqual([
        expect.objectContaining({ level: 'warning', code: 'ERR_JOURNAL_VERSION', vif: 'vif7.0' }),
      ]);
      expect(errors[0]!.message).toMatch(
        /^vif7\.0: its journal has version 9, and this vifd reads 7 and 8: .* may be lost\. .* --journal-version 8/,
      );
      // The guest is served, with journals that this vifd has begun.
      expect(versions()).toEqual([JOURNAL_VERSION]);
      expect(remembered()).toMatchObject({
        hash: { algorithm: 'none' },
        queues: [{ pendingFrames: 0, stagedGrants: 0 }],
      });
      guest.post(0, TEXTS.length);
      await expect
        .poll(async () => {
          await datagrams(['late']);
          return receivedTexts(guest, /late/).length;
        })
        .toBeGreaterThan(0);
      expect(receivedTexts(guest)).toEqual(TEXTS.slice(0, 1));
    },
    WHOLE_TEST_MS,
  );
});

/** Sends datagrams to the guest's addresses in turn. */
async function datagrams(texts: readonly string[]): Promise<void> {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(5000, '10.7.0.1', resolve));
  for (const [i, text] of texts.entries())
    await new Promise((resolve) => socket.send(text, 7000, ADDRESSES[i % ADDRESSES.length]!, resolve));
  socket.close();
}

function receivedTexts(guest: Guest, pattern = /to the guest, frame \d+/): string[] {
  return guest.received(0).flatMap((frame) => pattern.exec(frame.toString('latin1'))?.[0] ?? []);
}

/** Has vifd read more frames than the guest has buffers, as one batch: it is stopped while they come. */
async function hold(world: LinksWorld, guest: Guest, vifd: Program): Promise<void> {
  vifd.process.kill('SIGSTOP');
  await datagrams(TEXTS);
  guest.post(0, SLOTS_A_FRAME);
  vifd.process.kill('SIGCONT');
  const held = () => world.shown()?.connection?.queues[0]?.pendingFrames;
  await expect.poll(held, { timeout: START_MS }).toBe(TEXTS.length - 1);
}
