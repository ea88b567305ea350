import { createConnection, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { StoreServer } from '../../lib/testing/xenstored/server.js';
import {
  decodeStrings,
  encodeMessage,
  encodeStrings,
  encodeWrite,
  type Message,
  MessageDecoder,
  MessageType,
} from '../../lib/xen/store/wire.js';
import { settle } from './contract.js';
import { SocketWorld } from './socket-world.js';

/** A client that sends the messages of a test and stores all that it gets. */
class RawClient {
  readonly socket: Socket;
  readonly messages: Message[] = [];
  readonly closed: Promise<void>;
  readonly #decoder = new MessageDecoder();
  #lastId = 0;

  constructor(path: string) {
    this.socket = createConnection({ path });
    this.socket.on('data', (chunk) => this.messages.push(...this.#decoder.push(chunk)));
    this.closed = new Promise((resolve) => {
      this.socket.on('close', () => resolve()).on('error', () => {});
    });
  }

  send(type: number, payload: Buffer, transactionId = 0): void {
    this.#lastId += 1;
    this.socket.write(encodeMessage({ type, requestId: this.#lastId, transactionId, payload }));
  }

  async ask(type: number, payload: Buffer, transactionId = 0): Promise<string> {
    this.send(type, payload, transactionId);
    const id = this.#lastId;
    const reply = await this.#find(({ requestId }) => requestId === id);
    expect([MessageType.ERROR, type]).toContain(reply.type);
    expect(reply.transactionId).toBe(transactionId);
    return reply.payload.toString('latin1');
  }

  get events(): string[] {
    const events = this.messages.filter(({ type }) => type === MessageType.WATCH_EVENT);
    return events.map(({ payload }) => decodeStrings(payload).join(' '));
  }

  async #find(wanted: (message: Message) => boolean): Promise<Message> {
    for (let turn = 0; turn < 2000; turn += 1) {
      const found = this.messages.find(wanted);
      if (found !== undefined) return found;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    throw new Error('The server did not respond.');
  }
}

let world: SocketWorld;
let clients: RawClient[];

beforeEach(async () => {
  world = await SocketWorld.make();
  clients = [];
});

afterEach(async () => {
  for (const client of clients) client.socket.destroy();
  await world[Symbol.asyncDispose]();
});

async function raw(domid = 0): Promise<RawClient> {
  const client = new RawClient(await world.socket(domid));
  clients.push(client);
  return client;
}

describe('the protocol, message by message', () => {
  const s = encodeStrings;

  it('acknowledges and responds as xenstore.txt defines', async () => {
    const client = await raw();
    expect(await client.ask(MessageType.WRITE, encodeWrite('/a/b', 'v'))).toBe('OK\0');
    expect(await client.ask(MessageType.READ, s('/a/b'))).toBe('v');
    expect(await client.ask(MessageType.DIRECTORY, s('/a'))).toBe('b\0');
    expect(await client.ask(MessageType.DIRECTORY, s('/a/b'))).toBe('');
    expect(await client.ask(MessageType.GET_PERMS, s('/a'))).toBe('n0\0');
    expect(await client.ask(MessageType.SET_PERMS, s('/a', 'b0', 'r5'))).toBe('OK\0');
    expect(await client.ask(MessageType.GET_PERMS, s('/a'))).toBe('b0\0r5\0');
    expect(await client.ask(MessageType.MKDIR, s('/a/c'))).toBe('OK\0');
    expect(await client.ask(MessageType.DIRECTORY_PART, s('/a', '0'))).toMatch(/^[0-9]+\0b\0c\0\0$/);
    expect(await client.ask(MessageType.DIRECTORY_PART, s('/a', '2'))).toMatch(/^[0-9]+\0c\0\0$/);
    expect(await client.ask(MessageType.DIRECTORY_PART, s('/a', '99'))).toMatch(/^[0-9]+\0\0$/);
    expect(await client.ask(MessageType.RM, s('/a'))).toBe('OK\0');
    expect(await client.ask(MessageType.RM, s('/a'))).toBe('OK\0');
    expect(await client.ask(MessageType.RM, s('/a/b'))).toBe('ENOENT\0');
    expect(await client.ask(MessageType.GET_DOMAIN_PATH, s('7'))).toBe('/local/domain/7\0');
  });

  it('runs transactions', async () => {
    const client = await raw();
    const id = Number((await client.ask(MessageType.TRANSACTION_START, s(''))).slice(0, -1));
    expect(await client.ask(MessageType.TRANSACTION_START, s(''), id)).toBe('EBUSY\0');
    expect(await client.ask(MessageType.WRITE, encodeWrite('/t', 'v'), id)).toBe('OK\0');
    expect(await client.ask(MessageType.READ, s('/t'))).toBe('ENOENT\0');
    expect(await client.ask(MessageType.READ, s('/t'), id + 1)).toBe('ENOENT\0');
    expect(await client.ask(MessageType.TRANSACTION_END, s('X'), id)).toBe('EINVAL\0');
    expect(await client.ask(MessageType.TRANSACTION_END, s('T'), id)).toBe('OK\0');
    expect(await client.ask(MessageType.TRANSACTION_END, s('T'), id)).toBe('ENOENT\0');
    expect(await client.ask(MessageType.READ, s('/t'))).toBe('v');
  });

  it('watches, by path and token', async () => {
    const client = await raw();
    expect(await client.ask(MessageType.WATCH, s('/w', 'one'))).toBe('OK\0');
    expect(await client.ask(MessageType.WATCH, s('/w', 'two'))).toBe('OK\0');
    expect(await client.ask(MessageType.WATCH, s('/w', 'one'))).toBe('EEXIST\0');
    expect(await client.ask(MessageType.UNWATCH, s('/w', 'three'))).toBe('ENOENT\0');
    expect(await client.ask(MessageType.UNWATCH, s('/w', 'two'))).toBe('OK\0');
    expect(await client.ask(MessageType.WRITE, encodeWrite('/w/x', ''))).toBe('OK\0');
    await settle();
    expect(client.events).toEqual(['/w one', '/w two', '/w/x one']);
    // The acknowledgement of a watch comes before its first event.
    expect(client.messages.slice(0, 2).map(({ type }) => type)).toEqual([
      MessageType.WATCH,
      MessageType.WATCH_EVENT,
    ]);
    expect(await client.ask(MessageType.RESET_WATCHES, s(''))).toBe('OK\0');
    await client.ask(MessageType.WRITE, encodeWrite('/w/x', ''));
    await settle();
    expect(client.events).toHaveLength(3);
  });

  it('sends a relative watch relative events', async () => {
    await world.store.table.set('/local', {
      value: Buffer.alloc(0),
      permissions: [{ domid: 5, access: 'none' }],
      children: [],
    });
    const client = await raw(5);
    await client.ask(MessageType.WATCH, s('data', 'token'));
    await client.ask(MessageType.WRITE, encodeWrite('data/x', '1'));
    await client.ask(MessageType.WRITE, encodeWrite('/local/domain/5/data/y', '1'));
    await settle();
    expect(client.events).toEqual(['data token', 'data/x token', 'data/y token']);
  });

  it('introduces and releases domains, and fires the watches for that', async () => {
    const client = await raw();
    const guest = await raw(5);
    await guest.ask(MessageType.WATCH, s('@introduceDomain', 'guest'));
    await client.ask(MessageType.WATCH, s('@introduceDomain', 'in'));
    await client.ask(MessageType.WATCH, s('@releaseDomain', 'out'));
    expect(await client.ask(MessageType.IS_DOMAIN_INTRODUCED, s('5'))).toBe('F\0');
    expect(await client.ask(MessageType.RELEASE, s('5'))).toBe('ENOENT\0');
    expect(await client.ask(MessageType.INTRODUCE, s('5', '1234', '1'))).toBe('OK\0');
    expect(await client.ask(MessageType.IS_DOMAIN_INTRODUCED, s('5'))).toBe('T\0');
    expect(await client.ask(MessageType.RELEASE, s('5'))).toBe('OK\0');
    await guest.closed;
    await settle();
    expect(client.events.slice(2)).toEqual(['@introduceDomain in', '@releaseDomain out']);
    expect(guest.events).toEqual(['@introduceDomain guest']);
  });

  it('keeps a guest from what is dom0’s', async () => {
    const guest = await raw(5);
    for (const type of [
      MessageType.INTRODUCE,
      MessageType.RELEASE,
      MessageType.CONTROL,
      MessageType.SET_TARGET,
    ]) {
      expect(await guest.ask(type, s('6', '1', '1'))).toBe('EACCES\0');
    }
  });

  it.each([
    ['an unknown type', 99, s('/a'), 'ENOSYS'],
    ['a type that only servers send', MessageType.WATCH_EVENT, s('/a', 'b'), 'ENOSYS'],
    ['a path without its NUL', MessageType.READ, Buffer.from('/a'), 'EINVAL'],
    ['two strings instead of one', MessageType.READ, s('/a', '/b'), 'EINVAL'],
    ['nothing', MessageType.READ, Buffer.alloc(0), 'EINVAL'],
    ['a write without a path', MessageType.WRITE, Buffer.from('/a'), 'EINVAL'],
    ['a watch without a token', MessageType.WATCH, s('/a'), 'EINVAL'],
    ['no permissions', MessageType.SET_PERMS, s('/tool'), 'EINVAL'],
    ['odd permissions', MessageType.SET_PERMS, s('/tool', 'x0'), 'EINVAL'],
    ['a domain that is none', MessageType.GET_DOMAIN_PATH, s('x'), 'EINVAL'],
    ['an unknown command', MessageType.CONTROL, s('explode'), 'EINVAL'],
    ['what this store does not do', MessageType.SET_TARGET, s('5', '6'), 'ENOSYS'],
  ])('responds to %s with an error, and continues', async (_what, type, payload, errno) => {
    const client = await raw();
    expect(await client.ask(type, payload)).toBe(`${errno}\0`);
    expect(await client.ask(MessageType.CONTROL, s('help'))).toBe('help\0');
  });
});

describe('a hostile client', () => {
  /** Whatever one client does, another one is served. */
  async function expectOthersServed(): Promise<void> {
    await using store = await world.open(0);
    await store.write('/alive', 'yes');
    expect(await store.read('/alive')).toBe('yes');
  }

  it('is cut off when it announces too much', async () => {
    const client = await raw();
    const header = Buffer.alloc(16);
    header.writeUInt32LE(MessageType.WRITE, 0);
    header.writeUInt32LE(4097, 12);
    client.socket.write(header);
    await client.closed;
    await expectOthersServed();
  });

  it('may send random bytes', async () => {
    let seed = 1;
    const random = (): number => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return seed >>> 16;
    };
    for (let round = 0; round < 50; round += 1) {
      const client = await raw();
      client.socket.write(Buffer.from(Array.from({ length: random() % 300 }, () => random() & 0xff)));
      // Half of them look like messages.
      const length = random() % 64;
      const payload = Buffer.from(Array.from({ length }, () => random() & (round % 2 ? 0xff : 0x2f)));
      client.send(random() % 30, payload, random() % 3);
    }
    await expectOthersServed();
  });

  it('may stop in the middle of a message, and may go in the middle of a transaction', async () => {
    const half = await raw();
    const message = encodeMessage({
      type: 11,
      requestId: 1,
      transactionId: 0,
      payload: encodeWrite('/half', 'x'),
    });
    half.socket.write(message.subarray(0, 20));
    const gone = await raw();
    const id = Number((await gone.ask(MessageType.TRANSACTION_START, encodeStrings(''))).slice(0, -1));
    await gone.ask(MessageType.WRITE, encodeWrite('/gone', 'x'), id);
    gone.socket.destroy();
    await expectOthersServed();
    expect(world.store.table.get('/gone')).toBeUndefined();
    half.socket.write(message.subarray(20));
    await settle();
    expect(world.store.table.get('/half')).toBeDefined();
  });

  it('gets responses to 10,000 requests that it sent at once, in order', async () => {
    const client = await raw();
    for (let n = 0; n < 5000; n += 1) {
      client.send(MessageType.WRITE, encodeWrite(`/p/n${n % 50}`, String(n)));
      client.send(MessageType.READ, encodeStrings(`/p/n${n % 50}`));
    }
    expect(await client.ask(MessageType.READ, encodeStrings('/p/n49'))).toBe('4999');
    expect(client.messages.map(({ requestId }) => requestId)).toEqual(
      Array.from({ length: 10_001 }, (_, at) => at + 1),
    );
  });

  it('that reads no responses is read no further, and has a bounded number of events queued', async () => {
    const client = await raw();
    await client.ask(MessageType.WRITE, encodeWrite('/big', 'x'.repeat(4000)));
    await client.ask(MessageType.WATCH, encodeStrings('/w', 'token'));
    client.socket.pause();
    const before = process.memoryUsage.rss();
    // 160 MB of responses that the client does not read.
    for (let n = 0; n < 40_000; n += 1) client.send(MessageType.READ, encodeStrings('/big'));
    await using store = await world.open(0);
    for (let n = 0; n < 2000; n += 1) await store.write(`/w/n${n}`, 'x');
    await expectOthersServed();
    expect(process.memoryUsage.rss() - before).toBeLessThan(100 << 20);
    client.socket.resume();
    expect(await client.ask(MessageType.READ, encodeStrings('/alive'))).toBe('yes');
    // Too many for separate events: some were delivered with their own path, the rest with the watched path.
    expect(client.events.length).toBeLessThan(2000);
    expect(client.events.filter((event) => event === '/w token').length).toBeGreaterThan(1);
  });
});

describe('sockets', () => {
  it('are replaced when no process listens, and never taken from one that does', async () => {
    const path = await world.socket(0);
    await using other = new StoreServer(world.store);
    await expect(other.listen(path)).rejects.toMatchObject({ code: 'ERR_ARGUMENT', message: /EADDRINUSE/ });
    await expect(other.listen('/no/such/directory/socket')).rejects.toMatchObject({ code: 'ERR_ARGUMENT' });
  });
});
