import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { TO_GUEST_FRAMES } from '../../lib/netback/frames/batch-memory.js';
import { DROP_REASONS } from '../../lib/netback/frames/counters.js';
import type { VifDetails } from '../../lib/netback/show.js';
import { type LinksWorld, NODE, SOON, withLinks } from './links-world.js';

const KILLS = 3;
const FRAMES = 500;

function tests(world: LinksWorld): void {
  const { vifd, connect, newVif, send, came, reaches, shown } = world;

  /** Returns what `vifd show` prints; a vifd that follows a killed one accepts queries after a second. */
  async function show(): Promise<VifDetails> {
    await expect.poll(shown, { timeout: 10_000 }).toBeDefined();
    return shown() as VifDetails;
  }

  it('count on in the next process, whatever became of the one before, and go with the vif', async () => {
    await newVif();
    let daemon = vifd(['--bridge', 'br0']);
    await connect();
    await daemon.until('attached');
    expect(await reaches()).toBe(true);
    const file = join(world.directory, 'j', 'vif7.0.counters.journal');
    let before = (await show()).stats;
    for (let kill = 0; kill < KILLS; kill++) {
      const sending = send(FRAMES);
      // In the middle of the frames.
      await sleep(2 + 3 * kill);
      await daemon.end('SIGKILL');
      await sending;
      daemon = vifd(['--bridge', 'br0']);
      await daemon.until('attached');
      await send(FRAMES);
      expect(await reaches()).toBe(true);
      const details = await show();
      const { stats, connection } = details;
      expect(connection).toMatchObject({ resumes: kill + 1, queues: [{ stats: { stalls: 0 } }] });
      for (const flow of ['fromGuest', 'toGuest'] as const) {
        expect(stats[flow].frames).toBeGreaterThanOrEqual(before[flow].frames);
        expect(stats[flow].bytes).toBeGreaterThanOrEqual(before[flow].bytes);
        for (const reason of DROP_REASONS)
          expect([reason, stats[flow].drops[reason] >= before[flow].drops[reason]]).toEqual([reason, true]);
      }
      expect(stats.toGuest.frames).toBeGreaterThan(before.toGuest.frames);
      // The guest has counted them, too.
      const off = stats.toGuest.frames - came();
      expect(off).toBeGreaterThanOrEqual(0);
      expect(off).toBeLessThanOrEqual((kill + 1) * TO_GUEST_FRAMES);
      before = stats;
    }
    await daemon.end('SIGTERM');
    expect(existsSync(file)).toBe(true);
    daemon = vifd(['--bridge', 'br0']);
    await daemon.until('attached');
    expect((await show()).stats.toGuest.frames).toBeGreaterThanOrEqual(before.toGuest.frames);
    await world.store.rm(NODE);
    await expect.poll(() => existsSync(file), SOON).toBe(false);
  }, 90_000);

  it('go with a vif that went while no vifd ran', async () => {
    await newVif();
    const daemon = vifd(['--bridge', 'br0']);
    const file = join(world.directory, 'j', 'vif7.0.counters.journal');
    // No guest has connected.
    await expect.poll(() => existsSync(file), SOON).toBe(true);
    await daemon.end('SIGKILL');
    await world.store.rm(NODE);
    const next = vifd(['--bridge', 'br0']);
    await next.until('ready');
    expect(existsSync(file)).toBe(false);
    expect(next.lines.filter(({ event }) => event === 'swept')).toMatchObject([{ vif: 'vif7.0' }]);
  });
}

withLinks(import.meta.url, 'the counters of `vifd show`', tests);
