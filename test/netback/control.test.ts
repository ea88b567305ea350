import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CTRL_RING_SIZE, HASH_TYPES } from '../../lib/protocol/control.js';
import {
  EXTRA_TYPE_HASH,
  RING_HEADER_WORDS,
  RING_REQ_PROD,
  RX_FLAG_EXTRA_INFO,
  TX_FLAG_EXTRA_INFO,
} from '../../lib/protocol/netif.js';
import { MACHINES } from '../../worlds/model/machine.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';
import { frameOf, IPV4_VECTORS, IPV6_VECTORS, RSS_KEY } from '../protocol/hash-vectors.js';
import { hashing, killAtEachStep, staging } from './control-kills.js';
import { RawControl } from './raw-control.js';

const [GET_FLAGS, SET_FLAGS, SET_KEY, GET_SIZE, SET_SIZE, SET_MAPPING, SET_ALGORITHM] = [1, 2, 3, 4, 5, 6, 7];
const [SUCCESS, NOT_SUPPORTED, INVALID] = [0, 1, 2];
const TOEPLITZ = 1;
const NEAR_WRAP = 0xffffffc0;
const BAD_REF = 30_000;
const [V4] = IPV4_VECTORS;
const [V6] = IPV6_VECTORS;

describe.each(MACHINES)('the control ring, on %s', (_name, machine) => {
  let world: World;
  let guest: RawGuest;
  let control: RawControl;
  beforeEach(async () => {
    world = await World.open(machine());
    guest = await world.guest(7);
    control = new RawControl(guest.xen, NEAR_WRAP);
  });
  afterEach(() => world.close());

  async function connect(keys: Record<string, string> = {}): Promise<void> {
    await world.settled(guest.connect(world.toolstack, { ...control.keys, ...keys }));
    await world.start('copy');
  }

  /** @returns statuses of the requests, and data where it is not 0. */
  async function ask(...requests: readonly (readonly number[])[]): Promise<(number | [number, number])[]> {
    const from = control.ask(...requests);
    await world.settle();
    const responses = control.responses(from);
    expect(responses.map(({ id, type }) => [id, type])).toEqual(
      requests.map(([type], i) => [(from + i) & 0xffff, type]),
    );
    return responses.map(({ status, data }) => (data === 0 ? status : [status, data]));
  }

  async function setUp(...more: readonly (readonly number[])[]): Promise<void> {
    control.page.bytes.set(RSS_KEY);
    const requests = [
      [SET_ALGORITHM, TOEPLITZ],
      [SET_FLAGS, HASH_TYPES],
      [SET_KEY, control.ref, 40],
      ...more,
    ];
    expect(await ask(...requests)).toEqual(requests.map(() => SUCCESS));
  }

  /** Sends frames to the guest. @returns the words of the HASH extras that came. */
  async function hashes(...frames: Uint8Array[]): Promise<(number | undefined)[][]> {
    const from = guest.rxResponses().length;
    guest.post(Array.from({ length: frames.length * 2 }, (_, i) => guest.ref(from + i)));
    for (const frame of frames) world.port('vif7.0').put(frame);
    await world.settle();
    const extras: (number | undefined)[][] = [];
    const responses = guest.rxResponses();
    for (let slot = from; slot < responses.length; slot++) {
      if ((responses[slot]!.flags & RX_FLAG_EXTRA_INFO) === 0) continue;
      slot++;
      const at = RING_HEADER_WORDS + (slot & 255) * 2;
      expect(guest.rx[at]! & 0xff).toBe(EXTRA_TYPE_HASH);
      extras.push([guest.rx[at]! >>> 16, guest.rx[at + 1]]);
    }
    return extras;
  }

  it('responds to every message as Linux does, at each limit', async () => {
    await connect();
    const { page, ref } = control;
    expect(await ask([GET_FLAGS], [SET_FLAGS, 1], [SET_ALGORITHM, 2], [SET_ALGORITHM, 0])).toEqual([
      NOT_SUPPORTED,
      INVALID,
      INVALID,
      SUCCESS,
    ]);
    expect(await ask([SET_ALGORITHM, TOEPLITZ], [GET_FLAGS], [SET_FLAGS, 15], [SET_FLAGS, 16])).toEqual([
      SUCCESS,
      [SUCCESS, HASH_TYPES],
      SUCCESS,
      INVALID,
    ]);
    expect(await ask([SET_FLAGS, 0xffffffff], [SET_FLAGS, 0], [GET_SIZE])).toEqual([
      INVALID,
      SUCCESS,
      [SUCCESS, 128],
    ]);
    expect(
      await ask([SET_KEY, ref, 40], [SET_KEY, ref, 41], [SET_KEY, ref, 0xffffffff], [SET_KEY, BAD_REF, 1]),
    ).toEqual([SUCCESS, INVALID, INVALID, INVALID]);
    // No bytes of no page.
    expect(await ask([SET_KEY, BAD_REF, 0], [SET_MAPPING, BAD_REF, 0, 0])).toEqual([SUCCESS, SUCCESS]);
    expect(await ask([SET_SIZE, 128], [SET_SIZE, 129], [SET_SIZE, 0xffffffff])).toEqual([
      SUCCESS,
      INVALID,
      INVALID,
    ]);
    page.u32.fill(0);
    expect(
      await ask(
        [SET_MAPPING, ref, 128, 0],
        [SET_MAPPING, ref, 1, 127],
        [SET_MAPPING, ref, 1, 128],
        [SET_MAPPING, ref, 129, 0],
        [SET_MAPPING, ref, 2, 0xffffffff],
        [SET_MAPPING, ref, 0xffffffff, 1],
        [SET_MAPPING, BAD_REF, 1, 0],
      ),
    ).toEqual([SUCCESS, SUCCESS, INVALID, INVALID, INVALID, INVALID, INVALID]);
    // There is one queue.
    page.u32[3] = 1;
    expect(await ask([SET_MAPPING, ref, 3, 0], [SET_MAPPING, ref, 4, 0])).toEqual([SUCCESS, INVALID]);
    expect(await ask([0], [11], [0xffff, 1, 2, 3])).toEqual([NOT_SUPPORTED, NOT_SUPPORTED, NOT_SUPPORTED]);
    expect(world.errors).toEqual([]);
  });

  it('gives the guest the hash of each frame from then on, and counts its slot', async () => {
    await connect();
    expect(await hashes(frameOf(V4))).toEqual([]);
    await setUp();
    const udp = frameOf(V4, { protocol: 17 });
    const arp = new Uint8Array(60);
    expect(await hashes(frameOf(V4), udp, arp, frameOf(V6))).toEqual([
      [0x0101, V4.ofPorts],
      [0x0100, V4.ofAddresses],
      [0x0103, V6.ofPorts],
    ]);
    await ask([SET_FLAGS, 4]);
    expect(await hashes(frameOf(V4), frameOf(V6))).toEqual([[0x0102, V6.ofAddresses]]);
    await ask([SET_ALGORITHM, 0]);
    expect(await hashes(frameOf(V4), frameOf(V6))).toEqual([]);
  });

  it('waits for both slots of a frame with a hash', async () => {
    await connect();
    await setUp();
    guest.post([guest.ref(0)]);
    world.port('vif7.0').put(frameOf(V4));
    await world.settle();
    expect(guest.rxResponses()).toEqual([]);
    guest.post([guest.ref(1)]);
    await world.settle();
    expect(guest.rxResponses()).toHaveLength(2);
  });

  it('copies key and mapping: what the guest writes later changes nothing', async () => {
    await connect();
    await setUp();
    control.page.bytes.fill(0xff);
    expect(await hashes(frameOf(V4))).toEqual([[0x0101, V4.ofPorts]]);
  });

  it('shows hooks the hash that a frame came with', async () => {
    await connect();
    const seen: unknown[] = [];
    world.netback.vifs.get('vif7.0')?.hook((frame) => {
      seen.push(frame.hash, frame.copy().hash);
      return 'pass';
    });
    const hash = { words: [(EXTRA_TYPE_HASH | (1 << 16) | (1 << 24)) >>> 0, 0xfedcba98, 0] as const };
    guest.send([{ flags: TX_FLAG_EXTRA_INFO, size: 60 }, hash, { size: 60 }]);
    await world.settle();
    const told = { over: 'ipv4-tcp', value: 0xfedcba98 };
    expect(seen).toEqual([told, told, undefined, undefined]);
  });

  it('is as it was after a stop', async () => {
    await connect();
    await setUp();
    await world.stop();
    await world.start('copy');
    expect(world.attached.map(({ resumed }) => resumed)).toEqual([true, true]);
    expect(await hashes(frameOf(V4))).toEqual([[0x0101, V4.ofPorts]]);
    expect(world.errors).toEqual([]);
  });

  it('gets its response from the next process where none was there', async () => {
    await connect();
    await setUp();
    await world.stop();
    const from = control.ask([SET_FLAGS, 4], [GET_SIZE]);
    expect(control.responses(from)).toEqual([]);
    await world.start('copy');
    expect(control.responses(from).map(({ status, data }) => [status, data])).toEqual([
      [SUCCESS, 0],
      [SUCCESS, 128],
    ]);
    expect(control.events).toBeGreaterThan(0);
  });

  it('is not hashed for a guest that has connected anew', async () => {
    await connect();
    await setUp();
    await world.settled(world.toolstack.store.write('/local/domain/7/device/vif/0/state', '6'));
    await world.settle();
    await world.stop();
    guest = await world.guest(7);
    control = new RawControl(guest.xen);
    await connect();
    expect(await hashes(frameOf(V4))).toEqual([]);
    expect(await ask([GET_FLAGS])).toEqual([NOT_SUPPORTED]);
  });

  it('responds to a full ring in a turn, once each and in order', async () => {
    await connect();
    for (let round = 0; round < 3; round++) {
      const responses = await ask(...Array.from({ length: CTRL_RING_SIZE }, () => [GET_SIZE]));
      expect(responses).toEqual(Array(CTRL_RING_SIZE).fill([SUCCESS, 128]));
    }
    // Fewer events than responses.
    expect(control.events).toBeLessThan(10);
  });

  it('is not moved by a storm of events', async () => {
    await connect();
    for (let i = 0; i < 500; i++) control.notify();
    await world.settle();
    expect(await ask([GET_SIZE])).toEqual([[SUCCESS, 128]]);
  });

  it.each([CTRL_RING_SIZE + 1, -1])('stops the vif when req_prod runs away by %i', async (by) => {
    await connect();
    control.words[RING_REQ_PROD]! += by;
    control.notify();
    await world.settle();
    expect(world.netback.vifs.get('vif7.0')).toMatchObject({
      state: 'stopped',
      reason: 'control ring: req_prod is beyond the ring',
    });
    expect(world.errors.map(({ code }) => code)).toEqual(['ERR_PROTOCOL']);
  });

  it('is not attached to when its indices cannot be', async () => {
    control.words[RING_REQ_PROD]! += CTRL_RING_SIZE + 1;
    await connect();
    const vif = world.netback.vifs.get('vif7.0');
    expect(vif?.state).toBe('stopped');
    expect(vif?.reason).toMatch(/control ring of domain 7: req_prod - rsp_prod exceeds the ring/);
  });

  it.each([
    ['a port that is missing', { 'event-channel-ctrl': '' }, /event-channel-ctrl is ''/],
    ['a reference that is none', { 'ctrl-ring-ref': '-1' }, /ctrl-ring-ref is '-1'/],
    ['a page that is not granted', { 'ctrl-ring-ref': `${BAD_REF}` }, /grant|map/],
    ['a port that is not there', { 'event-channel-ctrl': '999' }, /port|channel/],
  ])('refuses %s', async (_what, keys, reason) => {
    await connect(keys as Record<string, string>);
    const vif = world.netback.vifs.get('vif7.0');
    expect(vif?.state).toBe('stopped');
    expect(vif?.reason).toMatch(reason);
  });
});

describe('a control request', () => {
  it.each([
    ['of hashing', hashing, 0],
    ['of grants that stay mapped', staging, 0],
    ['of hashing, where the indices wrap,', hashing, 0xfffffffd],
    ['of grants that stay mapped, where the indices wrap,', staging, 0xfffffffe],
  ])(
    '%s gets one response, and is done, wherever the backend is killed',
    async (_what, asking, ringStart) => {
      expect(await killAtEachStep(asking, ringStart)).toBeGreaterThan(30);
    },
    120_000,
  );
});
