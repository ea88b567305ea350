import { closeSync, openSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addon } from '../../lib/addon.js';
import { VifdError } from '../../lib/errors.js';
import { Link } from '../../lib/workers/link.js';
import { DESCRIPTORS_MAX, MESSAGE_BYTES_MAX, type ToWorker } from '../../lib/workers/messages.js';
import { until } from '../../worlds/processes/until.js';
import { inodeOf, openCount, withOpen } from '../host/descriptors.js';
import { whyNoAddon } from '../native/reason.js';
import { socketPair } from './socket-pair.js';

const gone = (domid: number): ToWorker => ({ tell: 'domain-gone', domid });
/** As long as a message may be. */
const LONG: ToWorker = { tell: 'changed', path: '', named: undefined };
const longest: ToWorker = { ...LONG, path: 'x'.repeat(MESSAGE_BYTES_MAX - JSON.stringify(LONG).length) };
/** Messages of which a socket holds three or four. */
const numbered = (i: number): ToWorker => ({ ...LONG, path: `${i} ${'x'.repeat(60_000)}` });

class End {
  readonly link: Link;
  readonly messages: unknown[] = [];
  readonly descriptors: number[][] = [];
  readonly ends: (VifdError | undefined)[] = [];
  /** Runs before a message is recorded. */
  onMessage: (message: unknown) => void = () => {};

  constructor(descriptor: number) {
    this.link = new Link(descriptor, {
      onMessage: (message, descriptors) => {
        this.onMessage(message);
        this.messages.push(message);
        this.descriptors.push([...descriptors]);
      },
      onEnd: (error) => this.ends.push(error),
    });
  }
}

describe.skipIf(whyNoAddon())('a link', () => {
  let before: number;
  let near: End;
  /** The other end, for tests that write what no link writes. */
  let raw: number;
  let rawOpen: boolean;
  beforeEach(() => {
    before = openCount();
    const [one, other] = socketPair();
    near = new End(one);
    [raw, rawOpen] = [other, true];
  });
  afterEach(async () => {
    near.link[Symbol.dispose]();
    for (const descriptors of near.descriptors) for (const descriptor of descriptors) closeSync(descriptor);
    closeRaw();
    // libuv closes a poll in the next turn.
    await turn();
    expect(openCount()).toBe(before);
  });
  const closeRaw = () => {
    if (rawOpen) closeSync(raw);
    rawOpen = false;
  };
  const write = (text: string, ...descriptors: number[]) =>
    addon().sendMessage(raw, Buffer.from(text), descriptors);
  const bytes = new Uint8Array(MESSAGE_BYTES_MAX);
  /** @returns the next message that the link sent; undefined if none has come. */
  const read = () => {
    const message = addon().receiveMessage(raw, bytes, DESCRIPTORS_MAX);
    if (typeof message === 'number') return undefined;
    const inodes = message.descriptors.map(inodeOf);
    for (const descriptor of message.descriptors) closeSync(descriptor);
    return { value: JSON.parse(Buffer.from(bytes.subarray(0, message.bytes)).toString()), inodes };
  };
  const soon = <T>(holds: () => T) => until(holds, 2000);
  /** Resolves when the link has reported its end, which it does once. */
  const ended = async () => {
    await soon(() => near.ends.length > 0);
    near.link.send(gone(1));
    await turn();
    expect(near.ends).toHaveLength(1);
    expect(near.link.ended).toBe(true);
    return near.ends[0];
  };

  it('passes messages in order, each by itself', async () => {
    const far = new End(raw);
    rawOpen = false;
    for (let i = 0; i < 100; i++) near.link.send(gone(i));
    far.link.send(gone(7));
    await soon(() => far.messages.length === 100 && near.messages.length === 1);
    expect(far.messages).toEqual(Array.from({ length: 100 }, (_, i) => gone(i)));
    expect(near.messages).toEqual([gone(7)]);
    far.link[Symbol.dispose]();
    expect(await ended()).toBeUndefined();
    expect(far.ends).toEqual([]);
  });

  it('passes duplicates of descriptors, and leaves the caller’s open', async () => {
    const inodes = withOpen(['/dev/null', '/dev/zero'], (first, second) => {
      const both = [inodeOf(second), inodeOf(first)];
      near.link.send(gone(1), [second, first]);
      expect(read()!.inodes).toEqual(both);
      write(JSON.stringify(gone(2)), second, first);
      return both;
    });
    await soon(() => near.messages.length === 1);
    expect(near.descriptors[0].map(inodeOf)).toEqual(inodes);
  });

  it('lets messages wait for a process that does not read, in order, with their descriptors', async () => {
    const most = 12;
    withOpen(['/dev/null'], (descriptor) => {
      for (let i = 0; i < most; i++) near.link.send(numbered(i), [descriptor]);
    });
    // The caller's descriptor is closed by now.
    const values: unknown[] = [];
    await soon(() => {
      for (let next = read(); next !== undefined; next = read()) {
        values.push(next.value);
        expect(next.inodes).toHaveLength(1);
      }
      return values.length === most;
    });
    expect(values).toEqual(Array.from({ length: most }, (_, i) => numbered(i)));
  });

  it('sends nothing before what waits, and counts only what waits', async () => {
    const values: unknown[] = [];
    for (let round = 0; round < 12; round++) {
      for (let i = 0; i < 8; i++) near.link.send(numbered(values.length + i));
      // There is room in the socket now, and older messages wait.
      const first = read()!.value;
      near.link.send(numbered(values.length + 8));
      const round = [first];
      await soon(() => {
        for (let next = read(); next !== undefined; next = read()) round.push(next.value);
        return round.length === 9;
      });
      values.push(...round);
    }
    expect(values).toEqual(Array.from({ length: 108 }, (_, i) => numbered(i)));
  });

  it('ends when too many bytes wait', async () => {
    withOpen(['/dev/null'], (descriptor) => {
      for (let i = 0; i < 50; i++) near.link.send(numbered(i), [descriptor]);
    });
    expect(await ended()).toMatchObject({
      code: 'ERR_WORKER',
      message: expect.stringContaining('does not read'),
    });
  });

  it('ends when too many messages wait', async () => {
    for (let i = 0; i < 10_000; i++) near.link.send(gone(i));
    expect((await ended())?.message).toContain('8192 messages wait');
  });

  it('ends without an error when the other process ends, after all that it had sent', async () => {
    near.link.send(gone(1));
    write(JSON.stringify(gone(2)));
    write(JSON.stringify(gone(3)));
    // What the link sent is not read: the kernel then reports ECONNRESET before the messages.
    closeRaw();
    expect(await ended()).toBeUndefined();
    expect(near.messages).toEqual([gone(2), gone(3)]);
  });

  it('receives what a process sent before its end also if it sends to that process meanwhile', async () => {
    write(JSON.stringify(gone(2)));
    closeRaw();
    near.link.send(gone(4));
    near.link.send(gone(5));
    expect(await ended()).toBeUndefined();
    expect(near.messages).toEqual([gone(2)]);
  });

  it('drops what waits when the other process ends', async () => {
    for (let i = 0; i < 12; i++) near.link.send(numbered(i));
    closeRaw();
    expect(await ended()).toBeUndefined();
  });

  it.each([
    ['not JSON', '{"tell":', 'not JSON'],
    ['too long', `"${'x'.repeat(MESSAGE_BYTES_MAX)}"`, 'more than 65536 bytes'],
  ])('ends when a message is %s, and closes its descriptors', async (_what, text, message) => {
    withOpen(['/dev/null'], (descriptor) => write(text, descriptor));
    expect(await ended()).toMatchObject({ code: 'ERR_WORKER', message: expect.stringContaining(message) });
  });

  it('ends when a message has too many descriptors', async () => {
    withOpen(['/dev/null'], (descriptor) =>
      write('1', ...Array<number>(DESCRIPTORS_MAX + 1).fill(descriptor)),
    );
    expect(await ended()).toMatchObject({ code: 'ERR_WORKER', errno: 'E2BIG' });
  });

  it('ends when a message has descriptors and no bytes', async () => {
    withOpen(['/dev/null'], (descriptor) => write('', descriptor));
    expect(await ended()).toBeUndefined();
  });

  it('ends with the error of its reader, and then reads no further message', async () => {
    near.onMessage = () => {
      throw new VifdError('ERR_WORKER', 'this one is refused');
    };
    withOpen(['/dev/null'], (descriptor) => write('1', descriptor));
    write('2');
    expect((await ended())?.message).toBe('this one is refused');
    expect(near.messages).toEqual([]);
  });

  it('refuses to send what the other process would refuse, and continues', () => {
    near.link.send(longest);
    expect(read()!.value).toEqual(longest);
    expect(() => near.link.send({ ...longest, path: `${longest.path}x` })).toThrow(/65537 bytes/);
    const many = Array<number>(DESCRIPTORS_MAX + 1).fill(0);
    expect(() => near.link.send(gone(1), many)).toThrow(/18 descriptors/);
    near.link.send(gone(2));
    expect(read()!.value).toEqual(gone(2));
  });

  it('is closed by disposal, which reports no end', async () => {
    near.link.send(gone(1));
    near.link[Symbol.dispose]();
    near.link.send(gone(2));
    expect(read()!.value).toEqual(gone(1));
    expect(addon().receiveMessage(raw, bytes, 1)).toEqual({ bytes: 0, descriptors: [] });
    await turn();
    expect(near.ends).toEqual([]);
  });

  it('may be disposed of by its reader, and does not read what then has its descriptor', async () => {
    let others: [number, number] | undefined;
    near.onMessage = () => {
      near.link[Symbol.dispose]();
      others = socketPair();
      addon().sendMessage(others[1], Buffer.from('3'), []);
    };
    write('1');
    write('2');
    await soon(() => near.messages.length > 0);
    await turn();
    expect([near.messages, near.ends]).toEqual([[1], []]);
    expect(addon().receiveMessage(others![0], bytes, 1)).toMatchObject({ bytes: 1 });
    for (const descriptor of others!) closeSync(descriptor);
  });
});

describe.skipIf(whyNoAddon())('a descriptor that is no socket', () => {
  it('makes no link', async () => {
    const parts = { onMessage: () => {}, onEnd: () => {} };
    const before = openCount();
    const file = openSync('/dev/null', 'r');
    expect(() => new Link(file, parts)).toThrow(
      expect.objectContaining({ code: 'ERR_WORKER', errno: 'EPERM' }),
    );
    await turn();
    expect(openCount()).toBe(before);
  });
});
