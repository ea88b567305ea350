import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it, vi } from 'vitest';
import { errnoForReply, replyTo } from '../../lib/testing/xenstored/requests.js';
import type { StoreSession } from '../../lib/testing/xenstored/session.js';
import { ModelStore } from '../../lib/testing/xenstored/store.js';
import { StoreClient } from '../../lib/xen/store/client.js';
import { connectFirst } from '../../lib/xen/store/connect.js';
import { connectDevice, type DeviceIo } from '../../lib/xen/store/device.js';
import {
  encodeMessage,
  encodeStrings,
  type Message,
  MessageDecoder,
  MessageType,
} from '../../lib/xen/store/wire.js';
import { settle } from './contract.js';

interface FakeDevice extends DeviceIo {
  /** Descriptors that are open. */
  readonly opened: Set<number>;
  /** xenstored behind the ring is gone: no process reads what is written now. */
  deaf: boolean;
}

/** The driver's state of one open descriptor (struct xenbus_file_priv). */
interface OpenFile {
  readonly session: StoreSession;
  readonly output: Buffer[];
  /** The last written message. A request is sent from here later, with the bytes that are here then. */
  buffer: Buffer;
  /** Requests that were sent, or are to be, and have no response. */
  due: number;
}

/**
 * /dev/xen/xenbus as the driver behaves since Linux 4.11: one message a write, header and payload within 4096 bytes; a refused watch fails
 * its write; a read without data returns nothing. A request that is written before the last was sent replaces it in the buffer; a watch while
 * a response is due stops the driver for good. A model's store is behind it.
 */
function fakeDevice(store: ModelStore): FakeDevice {
  const files = new Map<number, OpenFile>();
  let stopped = false;
  let lastFd = 98;
  const refuse = (errno: number): never => {
    throw Object.assign(new Error('refused by the driver'), { errno: -errno });
  };
  const respond = (file: OpenFile, { type, requestId, transactionId, payload }: Message): void => {
    const of = { requestId, transactionId };
    try {
      const response = replyTo(file.session, { type, ...of, payload });
      file.output.push(encodeMessage({ type, ...of, payload: response }));
    } catch (error) {
      if (type === MessageType.WATCH) refuse(22);
      const errno = encodeStrings(errnoForReply(error));
      file.output.push(encodeMessage({ type: MessageType.ERROR, ...of, payload: errno }));
    }
  };
  const fileOf = (fd: number): OpenFile => files.get(fd) ?? refuse(9);
  return {
    opened: new Set(),
    deaf: false,
    async open() {
      lastFd += 1;
      this.opened.add(lastFd);
      const output: Buffer[] = [];
      const session = store.connect(0, {
        onEvent: ({ token }, path) => {
          const payload = encodeStrings(path, token);
          const event = encodeMessage({ type: 15, requestId: 0, transactionId: 0, payload });
          setImmediate(() => stopped || output.push(event));
        },
        onReleased: () => {},
        onLost: () => {},
      });
      files.set(lastFd, { session, output, buffer: Buffer.alloc(0), due: 0 });
      return lastFd;
    },
    read: (fd, into) => fileOf(fd).output.shift()?.copy(into) ?? 0,
    async write(fd, bytes) {
      if (bytes.length > 4096) refuse(22);
      const file = fileOf(fd);
      file.buffer = bytes;
      const [message, ...more] = new MessageDecoder().push(bytes);
      expect(more).toEqual([]);
      if (message === undefined) return refuse(22);
      const { type } = message;
      const isWatch = type === MessageType.WATCH || type === MessageType.UNWATCH;
      if (isWatch && file.due > 0) stopped = true;
      if (this.deaf && !isWatch) file.due += 1;
      if (this.deaf || stopped) return;
      if (isWatch) return respond(file, message);
      file.due += 1;
      setImmediate(() => {
        if (stopped || !files.has(fd)) return;
        file.due -= 1;
        const payload = Buffer.alloc(message.payload.length);
        file.buffer.copy(payload, 0, 16);
        respond(file, { ...message, payload });
      });
    },
    async close(fd) {
      this.opened.delete(fd);
      fileOf(fd).session.close();
      files.delete(fd);
    },
  };
}

it('speaks to the device one message a write, and hears refusals and events', async () => {
  const io = fakeDevice(new ModelStore());
  const store = await StoreClient.open(() => connectDevice('/dev/xen/xenbus', undefined, io));
  await Promise.all([store.write('/a', '1'), store.write('/b', '2')]);
  expect(await store.list('/')).toEqual(['tool', 'a', 'b']);
  const paths: string[] = [];
  const watch = await store.watch('/a', (path) => paths.push(path));
  await store.write('/a/x', '1');
  await settle();
  expect(paths).toEqual(['/a', '/a/x']);
  await watch.close();
  await expect(store.watch('no path', () => {})).rejects.toMatchObject({ errno: 'EINVAL' });
  // 16 bytes less than over a socket: the driver's buffer has the header too.
  await store.write('/a', 'x'.repeat(4096 - 16 - 3));
  await expect(store.write('/a', 'x'.repeat(4096 - 16 - 2))).rejects.toMatchObject({ errno: 'E2BIG' });
  await store[Symbol.asyncDispose]();
  await settle();
  expect(io.opened.size).toBe(0);
});

it('asks one thing at a time: the driver mixes requests up, and stops at a watch while a response is due', async () => {
  const io = fakeDevice(new ModelStore());
  await using store = await StoreClient.open(() => connectDevice('/dev/xen/xenbus', undefined, io));
  const keys = Array.from({ length: 30 }, (_, i) => `/keys/${'x'.repeat(i % 5)}${i}`);
  await Promise.all(keys.map((key) => store.write(key, `of ${key}`)));
  const paths = new Set<string>();
  const [values, watches] = await Promise.all([
    Promise.all(keys.map((key) => store.read(key))),
    Promise.all(keys.map((key) => store.watch(key, (path) => paths.add(path)))),
    store.transaction(async (view) => {
      await Promise.all(keys.map((key) => view.write(`${key}/inside`, key)));
    }),
  ]);
  expect(values).toEqual(keys.map((key) => `of ${key}`));
  await Promise.all([...watches.map((watch) => watch.close()), ...keys.map((key) => store.rm(key))]);
  expect(await store.list('/keys')).toEqual([]);
  expect([...paths]).toEqual(expect.arrayContaining(keys));
  expect(io.opened.size).toBe(1);
});

it('reads a real descriptor by asking again and again, and stops at the end', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'vifd-device-'));
  try {
    const path = join(directory, 'fifo');
    await promisify(execFile)('mkfifo', [path]);
    // A FIFO that is open for both directions returns the bytes that are written into it, and EAGAIN before that.
    const device = await connectFirst([path]);
    const received: string[] = [];
    const decoder = new MessageDecoder();
    const send = (text: string) =>
      device.send(
        encodeMessage({ type: MessageType.READ, requestId: 1, transactionId: 0, payload: Buffer.from(text) }),
      );
    device.start({
      onData: (chunk) => {
        received.push(...decoder.push(chunk).map(({ payload }) => payload.toString()));
      },
      onLost: (cause) => expect.unreachable(String(cause)),
    });
    await settle();
    send('one');
    send('two');
    await vi.waitFor(() => expect(received).toEqual(['one', 'two']));
    device.close();
    device.close();
    send('late');
    await settle();
    expect(received).toEqual(['one', 'two']);
  } finally {
    await rm(directory, { recursive: true });
  }
});

it('reports a xenstored that is gone behind the ring, and asks its successor for what it had taken', async () => {
  const store = new ModelStore();
  const devices: FakeDevice[] = [];
  await using client = await StoreClient.open(() => {
    devices.push(fakeDevice(store));
    return connectDevice('/dev/xen/xenbus', undefined, devices.at(-1));
  });
  const heard: unknown[] = [];
  client.onConnection((lost) => heard.push(lost?.errno));
  const [first] = devices as [FakeDevice];
  first.deaf = true;
  const call = client.write('/a', '1');
  await vi.waitFor(() => expect(heard).toEqual(['ETIMEDOUT']), 2000);
  first.deaf = false;
  // The next xenstored responds, and does not know of the write.
  await call;
  expect(await client.read('/a')).toBe('1');
  expect(heard).toEqual(['ETIMEDOUT', undefined, 'ECONNRESET', undefined]);
  expect(devices).toHaveLength(2);
  await vi.waitFor(() => expect(first.opened.size).toBe(0));
});

it('closes all that it opens to ask whether xenstored is there, however late that is opened', async () => {
  const io = fakeDevice(new ModelStore());
  const transport = await connectDevice('/dev/xen/xenbus', undefined, io);
  transport.start({ onData: () => {}, onLost: (cause) => expect.unreachable(String(cause)) });
  io.deaf = true;
  const ask = (type: number, requestId: number) =>
    transport.send(encodeMessage({ type, requestId, transactionId: 0, payload: encodeStrings('0') }));
  ask(MessageType.READ, 1);
  // Both need a thread of libuv, and writes to the device occupy all of them.
  for (const requestId of [2, 3]) ask(MessageType.GET_DOMAIN_PATH, requestId);
  await settle();
  expect(io.opened.size).toBe(2);
  transport.close();
  await settle();
  expect(io.opened.size).toBe(0);
});
