import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { PortOptions } from '../../lib/ports/types.js';
import { arena, makeTap, withTaps } from '../tap-network.js';
import { type End, EVERYTHING, openEnd, receive, send, tcpFrame, tcpHeader } from './frames.js';

const SEGMENTED = [1448, 1448, 1104];
const WHOLE = [4000];

function ethtool(...args: string[]): string {
  return execFileSync('ethtool', args, { encoding: 'utf8' });
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

withTaps(import.meta.url, () => {
  describe('what the host has switched off at a tap', () => {
    const options = { name: 'tb', bridge: 'br0', up: true, persist: true };
    const sender = () => openEnd(makeTap({ name: 'ta', bridge: 'br0', up: true }), arena);

    /** A life that ends in a kill is no other than this to the device. */
    async function life<T>(asked: Partial<PortOptions>, work: (reader: End) => Promise<T>): Promise<T> {
      const port = makeTap(options);
      const reader = openEnd(port, arena, { ...EVERYTHING, ...asked });
      try {
        return await work(reader);
      } finally {
        reader.io.close();
        await port[Symbol.asyncDispose]();
      }
    }

    it('stays off over a restart, and on what was not', async () => {
      const from = sender();
      expect(await life({}, (reader) => arrivesAs(reader, from, 1))).toEqual(WHOLE);
      ethtool('-K', 'tb', 'tso', 'off');
      expect(await life({ resumed: true }, (reader) => arrivesAs(reader, from, 3))).toEqual(SEGMENTED);
      const features = await life({ resumed: true }, async () => ethtool('-k', 'tb'));
      expect(features).toMatch(/^tx-checksumming: on$/m);
      expect(features).toMatch(/^tcp-segmentation-offload: off$/m);
      await makeTap(options).remove?.();
    });

    it('stays off with the checksums that are switched off, and the tap works', async () => {
      await life({}, async () => ethtool('-K', 'tb', 'tx', 'off'));
      const features = await life({ resumed: true }, async () => ethtool('-k', 'tb'));
      expect(features).toMatch(/^tx-checksumming: off$/m);
      await makeTap(options).remove?.();
    });

    it('is on for another reader', async () => {
      const from = sender();
      await life({}, async () => ethtool('-K', 'tb', 'tso', 'off'));
      expect(await life({}, (reader) => arrivesAs(reader, from, 1))).toEqual(WHOLE);
      await makeTap(options).remove?.();
    });

    it('is nothing at a tap that was made anew for a guest that was served before', async () => {
      const from = sender();
      expect(await life({ resumed: true }, (reader) => arrivesAs(reader, from, 1))).toEqual(WHOLE);
      await makeTap(options).remove?.();
    });
  });
});
