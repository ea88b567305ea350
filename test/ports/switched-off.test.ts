import { execFileSync, spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { interfaces } from '../../lib/host/netlink-interfaces.js';
import type { PortOptions } from '../../lib/ports/port.js';
import type { TapMemory } from '../../lib/ports/tap-link.js';
import type { TapOptions } from '../../lib/ports/tap-options.js';
import {
  type End,
  EVERYTHING,
  NOTHING,
  openEnd,
  receive,
  send,
  tcpChecksumHolds,
  tcpFrame,
  tcpHeader,
} from '../../worlds/port-end.js';
import { arena, ip, makeTap, withTaps } from '../tap-network.js';

const SEGMENTED = [1448, 1448, 1104];
const WHOLE = [4000];
/** The kernel segments, and leaves the checksums to the reader. */
const NO_GSO = { ...EVERYTHING, gsoV4: false, gsoV6: false };

function ethtool(...args: string[]): string {
  return execFileSync('ethtool', args, { encoding: 'utf8' });
}

/** @returns what `ethtool -k` prints. */
function feature(name: string, device = 'tb'): string | undefined {
  return new RegExp(`^\\s*${name}: (\\w+)`, 'm').exec(ethtool('-k', device))?.[1];
}

/** TCP payload of the frames that come out of the tap for one of 4000 bytes that is on its way to it. */
async function arrivesAs(reader: End, sender: End, count: number): Promise<number[]> {
  send(sender, [{ frame: tcpFrame(4000, 5), header: tcpHeader(1448) }]);
  const lengths: number[] = [];
  for (let round = 0; round < 400 && lengths.length < count; round++) {
    lengths.push(...receive(reader).map(({ frame }) => frame.length - 54));
    await sleep(5);
  }
  return lengths;
}

/** Whether a frame with an open checksum arrives with it open. */
async function arrivesOpen(reader: End, sender: End): Promise<boolean> {
  send(sender, [{ frame: tcpFrame(100, 5), header: tcpHeader(0) }]);
  for (let round = 0; round < 400; round++) {
    const [came] = receive(reader);
    if (came !== undefined) return !tcpChecksumHolds(came.frame);
    await sleep(5);
  }
  throw new Error('nothing arrived');
}

withTaps(import.meta.url, () => {
  describe('what the host has switched off at a tap', () => {
    const options: TapOptions = { name: 'tb', bridge: 'br0', up: true, persist: true };
    const sender = () => openEnd(makeTap({ name: 'ta', bridge: 'br0', up: true }), arena);
    afterEach(() => {
      const link = interfaces().find('tb');
      if (link !== undefined) interfaces().remove(link.index);
    });

    /** Opens the tap as a new process or connection does, runs `work` with its reader, and closes it: for the device that equals a kill. */
    async function reading<T>(
      asked: Partial<PortOptions>,
      work: (reader: End) => Promise<T> | T,
      more: Partial<TapOptions> = {},
    ): Promise<T> {
      const port = makeTap({ ...options, ...more });
      const reader = openEnd(port, arena, { ...EVERYTHING, ...asked });
      try {
        return await work(reader);
      } finally {
        reader.io.close();
        await port[Symbol.asyncDispose]();
      }
    }

    it.each([[false], [true]])(
      'stays off, and what was on stays on, for a reader that was served before: %s',
      async (resumed) => {
        const from = sender();
        expect(await reading({}, (reader) => arrivesAs(reader, from, 1))).toEqual(WHOLE);
        ethtool('-K', 'tb', 'tso', 'off');
        await reading({ resumed }, async (reader) => {
          expect(await arrivesAs(reader, from, 3)).toEqual(SEGMENTED);
          expect(await arrivesOpen(reader, from)).toBe(true);
        });
        expect(await reading({ resumed }, () => feature('tx-checksumming'))).toBe('on');
      },
    );

    it('stays off where it was switched before the first reader, as by a hotplug script', async () => {
      const from = sender();
      await makeTap(options)[Symbol.asyncDispose]();
      ethtool('-K', 'tb', 'tx', 'off');
      await reading({}, async (reader) => {
        expect(feature('tx-checksumming')).toBe('off');
        expect(await arrivesOpen(reader, from)).toBe(false);
      });
    });

    it.each([
      ['sg', 'scatter-gather'],
      ['gso', 'generic-segmentation-offload'],
      ['tso', 'tcp-segmentation-offload'],
      ['tx', 'tx-checksumming'],
    ])('stays off by name: %s', async (short, long) => {
      await reading({}, () => ethtool('-K', 'tb', short, 'off'));
      for (const resumed of [true, false, true])
        expect(await reading({ resumed }, () => feature(long))).toBe('off');
    });

    it('is on again once the host has switched it on, at once and for the next reader', async () => {
      const from = sender();
      await reading({}, async (reader) => {
        ethtool('-K', 'tb', 'tx', 'off');
        expect(await arrivesOpen(reader, from)).toBe(false);
      });
      await reading({}, async (reader) => {
        ethtool('-K', 'tb', 'tx', 'on', 'tso', 'on');
        expect(await arrivesAs(reader, from, 1)).toEqual(WHOLE);
      });
      expect(await reading({}, (reader) => arrivesAs(reader, from, 1))).toEqual(WHOLE);
    });

    it('is not what a reader in between does not take', async () => {
      const from = sender();
      await reading({}, () => ethtool('-K', 'tb', 'tx-tcp6-segmentation', 'off'));
      for (const less of [NO_GSO, NOTHING]) {
        expect(await reading(less, (reader) => arrivesAs(reader, from, 3))).toEqual(SEGMENTED);
        expect(await reading({ ...less, resumed: true }, (reader) => arrivesAs(reader, from, 3))).toEqual(
          SEGMENTED,
        );
      }
      await reading({}, async (reader) => {
        expect(await arrivesAs(reader, from, 1)).toEqual(WHOLE);
        expect(feature('tx-tcp6-segmentation')).toBe('off');
      });
    });

    it('switches nothing on that the reader does not take', async () => {
      const from = sender();
      await reading(NOTHING, async (reader) => {
        // ethtool reports a failure, since nothing changes.
        spawnSync('ethtool', ['-K', 'tb', 'tx', 'on', 'tso', 'on']);
        expect(await arrivesAs(reader, from, 3)).toEqual(SEGMENTED);
        expect(await arrivesOpen(reader, from)).toBe(false);
      });
    });

    it('stays off with several queues', async () => {
      const multi = { multiQueue: true };
      const queue = (index: number) => ({ queue: { index, count: 2 } });
      await reading(queue(0), () => ethtool('-K', 'tb', 'tx', 'off'), multi);
      const port = makeTap({ ...options, ...multi });
      for (const index of [0, 1]) openEnd(port, arena, { ...EVERYTHING, ...queue(index) });
      expect(feature('tx-checksumming')).toBe('off');
    });

    it('stays off at a tap that was deleted and made anew', async () => {
      const memory: TapMemory = {};
      await reading({}, async () => {
        const port = makeTap({ name: 'tc', memory });
        using _following = port.follow!(() => {});
        ethtool('-K', 'tc', 'tx', 'off', 'gro', 'off');
        await expect.poll(() => memory.features, { timeout: 3000 }).toBeDefined();
        await sleep(600);
        ip('link', 'delete', 'tc');
        await port[Symbol.asyncDispose]();
      });
      const again = makeTap({ name: 'tc', memory });
      openEnd(again, arena);
      expect(feature('tx-checksumming', 'tc')).toBe('off');
      expect(feature('generic-receive-offload', 'tc')).toBe('off');
      expect(feature('scatter-gather', 'tc')).toBe('on');
    });

    it('is nothing at a tap that was made anew for a guest that was served before', async () => {
      const from = sender();
      expect(await reading({ resumed: true }, (reader) => arrivesAs(reader, from, 1))).toEqual(WHOLE);
    });

    it('stays off in another network namespace, where the tap was moved to', async () => {
      const port = makeTap(options);
      openEnd(port, arena, EVERYTHING).io.close();
      ip('netns', 'add', 'other');
      try {
        ip('link', 'set', 'tb', 'netns', 'other');
        const there = (...args: string[]) => ip('netns', 'exec', 'other', ...args);
        there('ethtool', '-K', 'tb', 'tx', 'off');
        for (const resumed of [true, false]) {
          openEnd(port, arena, { ...EVERYTHING, resumed }).io.close();
          expect(there('ethtool', '-k', 'tb')).toMatch(/^tx-checksumming: off$/m);
        }
      } finally {
        ip('netns', 'delete', 'other');
      }
    });
  });
});
