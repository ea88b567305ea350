import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it, vi } from 'vitest';
import { answer, errnoToAnswer } from '../../lib/xen/model/store/requests.js';
import { ModelStore } from '../../lib/xen/model/store/store.js';
import { StoreClient } from '../../lib/xen/store/client.js';
import { connectDevice, type DeviceIo } from '../../lib/xen/store/device.js';
import { connectFirst } from '../../lib/xen/store/transport.js';
import { encodeMessage, encodeStrings, MessageDecoder, MessageType } from '../../lib/xen/store/wire.js';
import { settle } from './contract.js';

interface FakeDevice extends DeviceIo {
  closed: boolean;
  /** xenstored behind the ring is gone: what is written now is read by nothing. */
  deaf: boolean;
}

/**
 * /dev/xen/xenbus as the driver behaves: one message a write, header and payload within 4096 bytes, a refused watch
 * fails its write, a read without data gives nothing. A model's store is behind it.
 */
function fakeDevice(store: ModelStore): FakeDevice {
  const output: Buffer[] = [];
  const session = store.connect(0, {
    onEvent: ({ token }, path) => {
      const payload = encodeStrings(path, token);
      setImmediate(() => output.push(encodeMessage({ type: 15, requestId: 0, transactionId: 0, payload })));
    },
    onReleased: () => {},
    onLost: () => {},
  });
  const refuse = (errno: number): never => {
    throw Object.assign(new Error('refused by the driver'), { errno: -errno });
  };
  return {
    closed: false,
    deaf: false,
    open: async () => 99,
    read: (_fd, into) => output.shift()?.copy(into) ?? 0,
    async write(_fd, bytes) {
      if (bytes.length > 4096) refuse(22);
      if (this.deaf) return;
      const messages = new MessageDecoder().push(bytes);
      expect(messages).toHaveLength(1);
      const { type, requestId, transactionId } = messages[0]!;
      try {
        const payload = answer(session, messages[0]!);
        output.push(encodeMessage({ type, requestId, transactionId, payload }));
      } catch (error) {
        if (type === MessageType.WATCH) refuse(22);
        const payload = encodeStrings(errnoToAnswer(error));
        output.push(encodeMessage({ type: MessageType.ERROR, requestId, transactionId, payload }));
      }
    },
    async close() {
      this.closed = true;
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
  expect(io.closed).toBe(true);
});

it('reads a real descriptor by asking again and again, and stops at the end', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'vifd-device-'));
  try {
    const path = join(directory, 'fifo');
    await promisify(execFile)('mkfifo', [path]);
    // A FIFO that is open for both directions gives back what it is given, and EAGAIN before that.
    const device = await connectFirst([path]);
    let received = '';
    device.start({
      onData: (chunk) => {
        received += chunk.toString();
      },
      onLost: (cause) => expect.unreachable(String(cause)),
    });
    await settle();
    device.send(Buffer.from('one '));
    device.send(Buffer.from('two'));
    await vi.waitFor(() => expect(received).toBe('one two'));
    device.close();
    device.close();
    device.send(Buffer.from('late'));
    await settle();
    expect(received).toBe('one two');
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
  // Its successor responds; of the write it knows nothing.
  await call;
  expect(await client.read('/a')).toBe('1');
  expect(heard).toEqual(['ETIMEDOUT', undefined, 'ECONNRESET', undefined]);
  expect(devices).toHaveLength(2);
  await vi.waitFor(() => expect(first.closed).toBe(true));
});
