import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addon, type NativeTap } from '../../lib/addon.js';
import {
  FRAME_BYTES_MAX,
  FRAME_LENGTH,
  FRAMES_END,
  FrameBatch,
  frameAt,
} from '../../lib/ports/frame-batch.js';
import { type End, openEnd, plainFrame, send, tcpFrame, tcpHeader } from '../../worlds/port-end.js';
import { arena, ip, isLimited, makeTap, withTaps } from '../tap-network.js';

const PLAIN = plainFrame(1514, 1);
/** The bridge removes the tag from the frame and stores it in the skb (skb_vlan_untag); tun inserts it when the frame is read. */
const TAGGED = Uint8Array.of(...PLAIN.subarray(0, 12), 0x81, 0, 0, 5, ...PLAIN.subarray(12));
/** native/tap_limit.cc, ChargeOf. */
const CHARGE = 2 * 1514 + 1152;
const TAGGED_CHARGE = CHARGE + 8;
const GSO = tcpFrame(20_000, 1);
const GSO_CHARGE = GSO.length * 1.5 + 1152;
const LONG_MS = 60_000;
const ROOM = FRAME_BYTES_MAX + 64;

/** A tap with one queue whose limit and lease are the test's. */
class LimitedTap implements Disposable {
  readonly tap: NativeTap;
  readonly #read: () => number;
  readonly #reads = new FrameBatch(arena(ROOM), 1);

  constructor(name: string) {
    const tap = addon().openTap(name, undefined, false);
    if ('failed' in tap) throw new Error(`${tap.failed}: ${tap.errno}`);
    this.tap = tap;
    const writes = new FrameBatch(arena(ROOM), 1);
    const reads = this.#reads;
    reads.block[FRAMES_END] = ROOM;
    const io = tap.start({
      writes: writes.block,
      writesArena: writes.arena.bytes,
      reads: reads.block,
      readsArena: reads.arena.bytes,
      mapped: undefined,
      // TUN_F_CSUM, TUN_F_TSO4 (linux/if_tun.h).
      offloads: 3,
      resumed: false,
      completeV4: false,
      completeV6: false,
      onReadable: () => {},
    });
    if (typeof io === 'number') throw new Error(`start: ${io}`);
    this.#read = io.read;
    tap.setCarrier(true);
  }

  limit(bytes: number): void {
    expect(this.tap.limit(bytes, LONG_MS)).toBeUndefined();
    this.tap.renewLimit(LONG_MS);
  }

  /** Reads one frame, without seeing whether there are more. @returns its bytes; 0 where there is none. */
  read(): number {
    return this.#read() === 0 ? 0 : this.#reads.block[frameAt(0) + FRAME_LENGTH];
  }

  drain(): number {
    let frames = 0;
    while (this.read() > 0) frames++;
    return frames;
  }

  [Symbol.dispose](): void {
    this.tap.close();
  }
}

withTaps(import.meta.url, () => {
  describe.skipIf(!isLimited())('the program that bounds what waits in a tap', () => {
    let limited: LimitedTap;
    let sender: End;

    const sent = (frames: number, frame = PLAIN): void => {
      const header = frame === GSO ? { header: tcpHeader(1448) } : {};
      for (let i = 0; i < frames; i++) expect(send(sender, [{ frame, ...header }])).toBe(1);
    };

    beforeEach(() => {
      limited = new LimitedTap('tl');
      ip('link', 'set', 'tl', 'up', 'master', 'br0');
      sender = openEnd(makeTap({ name: 'tp', up: true, bridge: 'br0' }), arena);
      limited.drain();
    });
    afterEach(() => limited[Symbol.dispose]());

    it.each([
      ['', PLAIN, CHARGE],
      [' with a tag that the device inserts', TAGGED, TAGGED_CHARGE],
      [' with GSO', GSO, GSO_CHARGE],
    ])('takes off for a frame%s just what it has charged', (_, frame, charge) => {
      limited.limit(2 * charge);
      sent(1, frame);
      // One frame always waits, so that the charges are never reset.
      for (let round = 0; round < 1000; round++) {
        sent(1, frame);
        expect(limited.read()).toBe(frame.length);
      }
      expect(limited.tap.dropped()).toBe(0);
      sent(3, frame);
      expect(limited.tap.dropped()).toBe(2);
      expect(limited.drain()).toBe(2);
    });

    it('lets everything pass when it is not renewed, and bounds again when it is', async () => {
      limited.limit(CHARGE);
      sent(3);
      expect(limited.tap.dropped()).toBe(2);
      limited.tap.renewLimit(0);
      await sleep(2);
      sent(5);
      expect(limited.tap.dropped()).toBe(2);
      expect(limited.drain()).toBe(6);
      limited.tap.renewLimit(LONG_MS);
      sent(3);
      expect(limited.tap.dropped()).toBe(4);
    });

    it('is gone when it is taken away', () => {
      limited.limit(CHARGE);
      expect(limited.tap.unlimit()).toBe(0);
      sent(5);
      expect(limited.drain()).toBe(5);
    });

    it('takes what waits when it is attached for as much as there may be', () => {
      sent(3);
      limited.limit(2 * CHARGE);
      sent(1);
      expect(limited.tap.dropped()).toBe(1);
      expect(limited.read()).toBe(1514);
      sent(2);
      expect(limited.tap.dropped()).toBe(2);
      expect(limited.drain()).toBe(3);
      sent(3);
      expect(limited.drain()).toBe(2);
    });

    it('has an error for a tap that is closed', () => {
      limited.tap.close();
      expect(limited.tap.limit(CHARGE, LONG_MS)).toMatchObject({ errno: -9 });
      expect([limited.tap.renewLimit(LONG_MS), limited.tap.unlimit(), limited.tap.dropped()]).toEqual([
        -9, -9, 0,
      ]);
    });
  });
});
