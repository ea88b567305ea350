import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Vif } from '../../lib/netback/public-vif.js';
import { MACHINES } from '../../worlds/model/machine.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';
import { TestPort } from '../../worlds/model/test-port.js';

describe.each(MACHINES)('a stream of frames, on %s', (_name, makeMachine) => {
  let world: World;
  let guest: RawGuest;
  let port: TestPort;
  let vif: Vif;
  beforeEach(async () => {
    world = await World.open(makeMachine());
    guest = await world.guest(7);
    port = new TestPort();
    await world.start('copy', [guest], { port: () => port });
    vif = world.netback.vifs.get('vif7.0')!;
  });
  afterEach(() => world.close());

  const send = async (...sizes: number[]) => {
    guest.send(sizes.map((size) => ({ size })));
    await world.settle();
  };
  const lengthsOf = async (frames: AsyncIterable<{ bytes: Uint8Array }>) => {
    const lengths: number[] = [];
    for await (const { bytes } of frames) lengths.push(bytes.length);
    return lengths;
  };

  it('counts the frames of which it made no copy', async () => {
    await using frames = vif.frames({ limit: 2 });
    await send(60, 61, 62, 63, 64);
    expect(frames.missed).toBe(3);
    expect((await frames.next()).value?.bytes).toHaveLength(60);
  });

  it('has the direction and the time of each frame, and both directions by default', async () => {
    const before = world.backend.clock.now();
    await using both = vif.frames();
    await using toGuest = vif.frames({ direction: 'to-guest' });
    await send(60);
    guest.post([guest.ref(1)]);
    port.put(new Uint8Array(70));
    await world.settle();
    const [first, second] = [(await both.next()).value!, (await both.next()).value!];
    expect([first.direction, first.bytes.length]).toEqual(['from-guest', 60]);
    expect([second.direction, second.bytes.length]).toEqual(['to-guest', 70]);
    expect(first.timeMs).toBeGreaterThanOrEqual(before);
    expect(second.timeMs).toBeGreaterThanOrEqual(first.timeMs);
    expect((await toGuest.next()).value?.bytes).toHaveLength(70);
  });

  it('responds to calls of next that overlap in their order, and to all of them at its end', async () => {
    const frames = vif.frames();
    const calls = [frames.next(), frames.next(), frames.next()];
    await send(60, 61);
    const ending = frames.return!();
    const lengths = (await Promise.all(calls)).map(({ value, done }) => [value?.bytes.length, done]);
    expect(lengths).toEqual([
      [60, false],
      [61, false],
      [undefined, true],
    ]);
    expect(await ending).toEqual({ value: undefined, done: true });
  });

  it.each(['the vif is gone', 'the netback detaches', 'its signal is aborted'])(
    'ends when %s',
    async (when) => {
      const stop = new AbortController();
      const reading = lengthsOf(vif.frames({ signal: stop.signal }));
      await send(60);
      if (when === 'the vif is gone') await world.rm(world.node(7));
      else if (when === 'the netback detaches') await world.stop();
      else stop.abort();
      expect(await reading).toEqual([60]);
      if (when === 'its signal is aborted') expect(vif.state).toBe('connected');
      else expect(await lengthsOf(vif.frames())).toEqual([]);
    },
  );

  it('stops to copy frames when it ends, and drops those that wait at disposal', async () => {
    const frames = vif.frames();
    await send(60);
    await frames[Symbol.asyncDispose]();
    await send(61);
    expect([await frames.next(), frames.missed]).toEqual([{ value: undefined, done: true }, 0]);
  });

  it.each([0, 1.5, Number.NaN, 65_537])('refuses a limit of %s', (limit) => {
    expect(() => vif.frames({ limit })).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT' }));
  });
});
