import { createServer, type Server, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { storeIo } from '../../lib/xen/native/readiness.js';
import { type OpenStoreOptions, openStore } from '../../lib/xen/store/client.js';
import { encodeMessage, encodeStrings, MessageDecoder, MessageType } from '../../lib/xen/store/wire.js';
import { whyNoAddon } from '../native/reason.js';
import { settle } from './contract.js';
import { SocketWorld } from './socket-world.js';

let world: SocketWorld;
let io: OpenStoreOptions = {};

// Once for each test, with what its group has chosen.
beforeEach(async () => {
  world = await SocketWorld.make(io);
});

afterEach(async () => {
  await world[Symbol.asyncDispose]();
});

const why = whyNoAddon();

describe.each([
  { by: 'node:net', how: {} },
  {
    by: why === undefined ? 'the addon’s socket' : `the addon’s socket (skipped here: ${why})`,
    how: storeIo,
  },
])('a connection by $by that is lost', ({ how }) => {
  if (how === storeIo && why !== undefined) return;
  beforeAll(() => {
    io = how;
  });
  afterAll(() => {
    io = {};
  });

  it('is made again: calls wait, then go on', async () => {
    await using store = await world.open(0);
    await store.write('/a', '1');
    await world.stop();
    const calls = [store.read('/a'), store.write('/b', '2'), store.list('/'), store.rm('/tool')];
    await settle();
    await world.restart();
    expect(await Promise.all(calls)).toEqual(['1', undefined, ['tool', 'a', 'b'], undefined]);
    expect(await store.read('/b')).toBe('2');
  });

  it('sends calls that were under way again on the next connection, and gets their responses', async () => {
    await using store = await world.open(0);
    const writes = Array.from({ length: 500 }, (_, index) => store.write(`/n/${index}`, String(index)));
    await world.stop();
    await world.restart();
    await Promise.all(writes);
    expect(await store.list('/n')).toHaveLength(500);
  });

  it('has its watches again, and each fires once', async () => {
    await using store = await world.open(0);
    const paths: string[] = [];
    await using _watch = await store.watch('/w', (path) => paths.push(path));
    const closed = await store.watch('/w', () => paths.push('closed'));
    await settle();
    await closed.close();
    paths.length = 0;
    await world.stop();
    await settle();
    expect(paths).toEqual([]);
    await world.restart();
    await store.read('/w');
    await settle();
    expect(paths).toEqual(['/w']);
    await store.write('/w/x', '1');
    await settle();
    expect(paths).toEqual(['/w', '/w/x']);
  });

  it('can have a watch opened and closed while it is gone', async () => {
    await using store = await world.open(0);
    const onChange = vi.fn();
    const early = await store.watch('/early', onChange);
    await settle();
    onChange.mockClear();
    await world.stop();
    await settle();
    const late = store.watch('/late', onChange);
    const closed = early.close();
    await settle();
    await world.restart();
    await closed;
    await using _late = await late;
    await store.write('/early', 'x');
    await settle();
    expect(onChange.mock.calls).toEqual([['/late']]);
  });

  it('runs its transactions again', async () => {
    await using store = await world.open(0);
    await store.write('/n', '1');
    let runs = 0;
    await store.transaction(async (view) => {
      runs += 1;
      const value = await view.read('/n');
      if (runs === 1) {
        await world.stop();
        await world.restart();
      }
      await view.write('/n', `${value}+`);
    });
    expect(runs).toBe(2);
    expect(await store.read('/n')).toBe('1+');
  });

  it('lets the body’s own error through', async () => {
    await using store = await world.open(0);
    const body = store.transaction(async () => {
      await world.stop();
      throw new Error('mine');
    });
    await expect(body).rejects.toThrow('mine');
    await world.restart();
  });

  it('survives many restarts under load', async () => {
    await using store = await world.open(0);
    let seen = '';
    await using _watch = await store.watch('/n', async () => {
      seen = (await store.read('/n')) ?? '';
    });
    let stop = false;
    const restarts = (async () => {
      while (!stop) {
        await world.stop();
        await world.restart();
        await new Promise((resolve) => setTimeout(resolve, 15));
      }
    })();
    for (let n = 1; n <= 300; n += 1)
      await store.transaction(async (view) => view.write('/n', String(n)), 1000);
    stop = true;
    await restarts;
    expect(await store.read('/n')).toBe('300');
    await vi.waitFor(() => expect(seen).toBe('300'));
  });
});

describe('a store that is away', () => {
  it('can be closed while it is waited for', async () => {
    const store = await world.open(0);
    await world.stop();
    const call = store.read('/a');
    const refused = expect(call).rejects.toMatchObject({ code: 'ERR_STATE' });
    await settle();
    await store[Symbol.asyncDispose]();
    await refused;
  });
});

describe('opening', () => {
  it.skipIf(why !== undefined)(
    'by the addon’s socket reports the same of a path where no process listens',
    async () => {
      const path = await world.socket(0);
      await world.stop();
      const messages = await Promise.all(
        [{}, storeIo].map((how) => openStore({ path, ...how }).then(String, ({ message }) => message)),
      );
      expect(messages[0]).toMatch(/^No xenstore could be reached/);
      expect(messages[1]).toBe(messages[0]);
    },
  );

  it('reports which paths were tried, with which result, and what to do', async () => {
    const path = `${await world.socket(0)}-not`;
    await expect(openStore({ path })).rejects.toMatchObject({
      code: 'ERR_XEN_UNAVAILABLE',
      message: expect.stringMatching(/tried .*domain0-not \(ENOENT\).*XENSTORED_PATH/),
    });
  });

  it('tries the daemon’s socket and then the kernel’s device', async () => {
    vi.stubEnv('XENSTORED_PATH', '');
    vi.stubEnv('XENSTORED_RUNDIR', '/no/such/directory');
    try {
      const message = expect.stringMatching(
        /directory\/socket \(ENOENT\), \/dev\/xen\/xenbus \(.*\/proc\/xen\/xenbus/,
      );
      await expect(openStore()).rejects.toMatchObject({ message });
      vi.stubEnv('XENSTORED_PATH', await world.socket(0));
      await using store = await openStore();
      expect(await store.read('/tool')).toBe('');
    } finally {
      vi.unstubAllEnvs();
    }
  });
});

describe('a server that is no xenstored', () => {
  const servers: { server: Server; sockets: Set<Socket> }[] = [];

  afterEach(async () => {
    for (const { server, sockets } of servers.splice(0)) {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    }
  });

  async function rogue(onConnection: (socket: Socket) => void): Promise<string> {
    const path = `${await world.socket(0)}-rogue`;
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.on('error', () => socket.destroy());
      onConnection(socket);
    });
    servers.push({ server, sockets });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    return path;
  }

  it.each([
    ['hangs up', (socket: Socket) => socket.end()],
    ['sends a payload that is too long', (socket: Socket) => socket.write(Buffer.alloc(64, 0xff))],
    ['responds to what was not asked', (socket: Socket) => socket.write(Buffer.alloc(16))],
  ])('is refused when it %s', async (_what, onConnection) => {
    const path = await rogue(onConnection);
    await expect(openStore({ path })).rejects.toMatchObject({ code: 'ERR_XEN_UNAVAILABLE' });
  });

  it('can be waited for no longer than the caller likes', async () => {
    const path = await rogue(() => {});
    const signal = AbortSignal.timeout(30);
    await expect(openStore({ path, signal })).rejects.toMatchObject({ name: 'TimeoutError' });
    await expect(openStore({ path, signal })).rejects.toMatchObject({ name: 'TimeoutError' });
  });

  it('is not asked in a busy loop when it drops every connection', async () => {
    let connections = 0;
    const path = await rogue((socket) => {
      connections += 1;
      const decoder = new MessageDecoder();
      socket.on('data', (chunk) => {
        for (const { type, requestId, transactionId } of decoder.push(chunk)) {
          if (type !== MessageType.GET_DOMAIN_PATH) socket.destroy();
          socket.write(encodeMessage({ type, requestId, transactionId, payload: encodeStrings('x') }));
        }
      });
    });
    await using store = await openStore({ path, pauseMs: 10, pauseMsMax: 1000 });
    const call = store.read('/a');
    const refused = expect(call).rejects.toMatchObject({ code: 'ERR_STATE' });
    // 10, 20, 40, 80, 160 ms: the pauses grow, though each connection was made.
    await new Promise((resolve) => setTimeout(resolve, 320));
    expect(connections).toBeGreaterThan(2);
    expect(connections).toBeLessThan(8);
    await store[Symbol.asyncDispose]();
    await refused;
  });
});
