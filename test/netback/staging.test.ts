import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DurableWords } from '../../lib/durable/durable-words.js';
import { STAGED, STAGED_BANKS } from '../../lib/durable/layout.js';
import { isSoundStaging, STAGED_MAX, Staging } from '../../lib/netback/guest/staging.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import type { Access } from '../../lib/xen/seam.js';
import { MACHINES, modelMachine } from '../../worlds/model/machine.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';
import { frameOf, IPV4_VECTORS } from '../protocol/hash-vectors.js';
import { RawControl } from './raw-control.js';

const [GET_SIZE, ADD, DEL] = [8, 9, 10];
const [SUCCESS, INVALID] = [0, 2];
const READONLY = 1;
const BAD_REF = 30_000;
const FRAME = frameOf(IPV4_VECTORS[0]);

/** A guest with a control ring. */
class Stager {
  readonly world: World;
  readonly guest: RawGuest;
  readonly control: RawControl;

  constructor(world: World, guest: RawGuest) {
    this.world = world;
    this.guest = guest;
    this.control = new RawControl(guest.xen);
  }

  async connect(payload: 'copy' | 'map' = 'copy'): Promise<void> {
    await this.world.settled(this.guest.connect(this.world.toolstack, this.control.keys));
    await this.world.start(payload);
  }

  async ask(...request: readonly number[]): Promise<[status: number, data: number]> {
    const from = this.control.ask(request);
    await this.world.settle();
    const [response] = this.control.responses(from);
    return [response!.status, response!.data];
  }

  /** A list of [ref, flags] in the page. */
  list(entries: readonly (readonly [number, number?])[]): void {
    const { u32 } = this.control.page;
    for (const [i, [ref, flags]] of entries.entries())
      u32.set([ref, ((0xbeef << 16) | (flags ?? 0)) >>> 0], i * 2);
  }

  async add(refs: readonly number[], flags = 0): Promise<number> {
    this.list(refs.map((ref) => [ref, flags]));
    return (await this.ask(ADD, 0, this.control.ref, refs.length))[0];
  }

  /** @returns each entry's status, and the number in the response. */
  async remove(refs: readonly number[]): Promise<[statuses: number[], count: number]> {
    this.list(refs.map((ref) => [ref]));
    const [status, count] = await this.ask(DEL, 0, this.control.ref, refs.length);
    expect(status).toBe(SUCCESS);
    return [refs.map((_, i) => this.control.page.u32[i * 2 + 1]! >>> 16), count];
  }

  /** Whether the backend has unmapped a page: a grant that is mapped cannot be ended. */
  ends(ref: number): boolean {
    return this.guest.pages.end(ref);
  }

  /** Sends a frame from a page. @returns its status. */
  async send(page: number): Promise<number | undefined> {
    const from = this.guest.tx[2]!;
    this.guest.pages.bytes.set(FRAME, page * 4096);
    this.guest.send([{ page, size: FRAME.length }]);
    await this.world.settle();
    return this.guest.txResponses(from)[0]?.status;
  }
}

describe.each(MACHINES)('grants that stay mapped, on %s', (_name, machine) => {
  let world: World;
  let stager: Stager;
  beforeEach(async () => {
    world = await World.open(machine());
    stager = new Stager(world, await world.guest(7));
  });
  afterEach(() => world.close());

  it('are as many as GET_GREF_MAPPING_SIZE returns, for each queue', async () => {
    await stager.connect();
    expect(await stager.ask(GET_SIZE, 0)).toEqual([SUCCESS, STAGED_MAX]);
    expect(await stager.ask(GET_SIZE, 1)).toEqual([INVALID, 0]);
    expect(await stager.ask(ADD, 1, stager.control.ref, 0)).toEqual([INVALID, 0]);
    expect(await stager.ask(DEL, 1, stager.control.ref, 0)).toEqual([INVALID, 0]);
  });

  it('are added all or none, and stay until they are taken back', async () => {
    await stager.connect();
    const [first, second, third] = [0, 1, 2].map((page) => stager.guest.ref(page));
    expect(await stager.add([first!, BAD_REF])).toBe(INVALID);
    expect(await stager.add([first!, first!])).toBe(INVALID);
    expect(await stager.add([first!], 2)).toBe(INVALID);
    expect(await stager.ask(ADD, 0, stager.control.ref, 513)).toEqual([INVALID, 0]);
    expect(await stager.ask(ADD, 0, BAD_REF, 1)).toEqual([INVALID, 0]);
    expect(await stager.add([first!, second!])).toBe(SUCCESS);
    // The same once more is no fault; for reading only it is another.
    expect(await stager.add([second!, third!])).toBe(SUCCESS);
    expect(await stager.add([second!], READONLY)).toBe(INVALID);
    expect(stager.ends(second!)).toBe(false);
    expect(await stager.remove([second!, BAD_REF, second!])).toEqual([[SUCCESS, INVALID, INVALID], 1]);
    expect([stager.ends(second!), stager.ends(first!)]).toEqual([true, false]);
    expect(await stager.remove([first!, second!, third!])).toEqual([[SUCCESS, INVALID, SUCCESS], 2]);
    expect([stager.ends(first!), stager.ends(third!)]).toEqual([true, true]);
  });

  it.each(['copy', 'map'] as const)('carry frames both ways, payload by %s', async (payload) => {
    await stager.connect(payload);
    const { guest } = stager;
    expect(await stager.add([0, 1].map((page) => guest.ref(page)))).toBe(SUCCESS);
    expect(await stager.add([guest.ref(2)], READONLY)).toBe(SUCCESS);
    for (const page of [0, 2, 3]) expect(await stager.send(page)).toBe(0);
    expect(world.port('vif7.0').written.map((bytes) => [...bytes])).toEqual(Array(3).fill([...FRAME]));
    // One staged for writing, one for reading only, and one that is not staged.
    guest.post([1, 2, 4].map((page) => guest.ref(page)));
    for (let i = 0; i < 3; i++) world.port('vif7.0').put(FRAME);
    await world.settle();
    expect(guest.rxResponses().map(({ status }) => status)).toEqual(Array(3).fill(FRAME.length));
    for (const page of [1, 2, 4])
      expect([...guest.pages.bytes.subarray(page * 4096, page * 4096 + FRAME.length)]).toEqual([...FRAME]);
    expect(await stager.remove([guest.ref(0)])).toEqual([[SUCCESS], 1]);
    expect(await stager.send(0)).toBe(0);
    expect(world.errors).toEqual([]);
  });

  it('are mapped again by the next process, as far as they are still granted', async () => {
    await stager.connect();
    const refs = [0, 1, 2, 3].map((page) => stager.guest.ref(page));
    expect(await stager.add(refs)).toBe(SUCCESS);
    await world.stop();
    expect(stager.ends(refs[1]!)).toBe(true);
    await world.start('copy');
    expect([0, 2, 3].map((page) => stager.ends(refs[page]!))).toEqual([false, false, false]);
    expect(await stager.send(2)).toBe(0);
    expect(await stager.remove(refs)).toEqual([[SUCCESS, INVALID, SUCCESS, SUCCESS], 3]);
    expect(stager.ends(refs[0]!)).toBe(true);
    expect(world.errors).toEqual([]);
  });

  it('are unmapped when the guest closes', async () => {
    await stager.connect();
    expect(await stager.add([stager.guest.ref(0)])).toBe(SUCCESS);
    await world.settled(world.toolstack.store.write('/local/domain/7/device/vif/0/state', '6'));
    await world.settle();
    expect(stager.ends(stager.guest.ref(0))).toBe(true);
  });
});

describe('grants that stay mapped', () => {
  it('are bounded', async () => {
    const world = await World.open(modelMachine());
    const stager = new Stager(world, await world.guest(7));
    await stager.connect();
    const pages = stager.guest.xen.shares!.allocate(STAGED_MAX + 1);
    const refs = Array.from({ length: STAGED_MAX + 1 }, (_, page) => pages.grant(page, 0, 'write'));
    expect(await stager.add(refs.slice(0, 512))).toBe(SUCCESS);
    expect(await stager.add(refs.slice(512, 1000))).toBe(SUCCESS);
    expect(await stager.add(refs.slice(1000))).toBe(INVALID);
    expect(pages.end(refs[1001]!)).toBe(true);
    expect(await stager.add(refs.slice(1000, 1001))).toBe(SUCCESS);
    expect(await stager.remove(refs.slice(0, 512))).toEqual([Array(512).fill(SUCCESS), 512]);
    await world.close();
  });

  it('need no hypervisor', async () => {
    // Every grant operation fails, but staged grants stay mapped.
    const hypervisor = new ModelHypervisor({ faults: { grantFailsEvery: 1 } });
    const [back, front] = [hypervisor.open(0), hypervisor.open(7)];
    const pages = front.shares.allocate(2);
    const refs = [0, 1].map((page) => pages.grant(page, 0, 'write'));
    const staging = new Staging(DurableWords.ofProcess(STAGED_BANKS.words), back.grants.staged(7));
    expect(staging.add(new Map([[refs[0]!, 'write']]))).toBe(true);
    const arena = back.grants.arena(4096);
    const batch = back.grants.batch({ domid: 7, capacity: 2, arena, staged: staging.grants });
    batch.ops.set([2, 0, 0, 0, refs[0]!, 10 << 16, 0, 0, 0, refs[1]!, 10 << 16, 0, 0, 0]);
    batch.copyFromGuest();
    expect([batch.ops[8]! | 0, batch.ops[13]! | 0]).toEqual([0, -12]);
  });

  it('are before or after a change, wherever a process ends', () => {
    const { staging, words } = listOf([1, 2, 3]);
    const before = words.slice();
    staging.remove([2], 7);
    const sizes = new Set<number>();
    for (let at = 1; ; at++) {
      let steps = 0;
      const kill = () => {
        if (++steps === at) throw new Error('killed');
      };
      const stored = before.slice();
      const process = new Staging(new DurableWords(stored, kill), noGrants);
      let isKilled = false;
      try {
        process.remove([2], 7);
      } catch {
        isKilled = true;
      }
      if (!isKilled) break;
      expect(isSoundStaging(new DurableWords(stored))).toBe(true);
      const next = new Staging(new DurableWords(stored), noGrants);
      sizes.add(next.size);
      const isBefore = next.size === 3;
      // The response is the same for both.
      expect([next.size, next.has(2)]).toEqual([isBefore ? 3 : 2, true]);
      next.resume(7);
      expect(next.has(2)).toBe(true);
      next.resume(8);
      expect(next.has(2)).toBe(isBefore);
    }
    // The last store alone makes it count.
    expect([...sizes]).toEqual([3, 2]);
  });

  it('that were removed are there until the response is published', () => {
    const { staging, words } = listOf([1, 2]);
    staging.remove([1], 3);
    expect([staging.size, staging.has(1)]).toEqual([1, true]);
    staging.settle();
    expect([staging.size, staging.has(1)]).toEqual([1, false]);
    expect([
      new Staging(new DurableWords(words), noGrants).has(1),
      new Staging(new DurableWords(words), noGrants).has(2),
    ]).toEqual([false, true]);
  });

  it('are taken of a journal only if they can be', () => {
    const { words } = listOf([5, 6]);
    expect(isSoundStaging(new DurableWords(words))).toBe(true);
    const bank = 1 + words[0]! * STAGED.words;
    for (const [at, value] of [
      [0, 2],
      [bank, STAGED_MAX + 1],
      [bank, 0xffffffff],
      [bank + 1, STAGED_MAX],
      // A grant twice.
      [bank + 3, 6],
    ] as const) {
      const wrong = words.slice();
      wrong[at] = value;
      expect(isSoundStaging(new DurableWords(wrong))).toBe(false);
    }
  });
});

const noGrants = { size: 0, add: () => true, remove: () => {}, [Symbol.dispose]: () => {} };

function listOf(refs: readonly number[]): { staging: Staging; words: Uint32Array } {
  const words = new Uint32Array(STAGED_BANKS.words);
  const staging = new Staging(new DurableWords(words), noGrants);
  staging.add(new Map(refs.map((ref): [number, Access] => [ref, 'write'])));
  return { staging, words };
}
