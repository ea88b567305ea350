/** Other users of the host can connect neither to the socket of `vifd show` nor to that of a worker. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type QueryServer, serveQueries } from '../../lib/daemon/query.js';
import { WorkerSocket } from '../../lib/workers/worker-socket.js';
import { whyNoAddon } from '../native/reason.js';

/** nobody on most hosts; any user but root will do. */
const SOMEONE = 65_534;
const CONNECTS = `
  require('node:net').createConnection(process.argv[1], () => { console.log('connected'); process.exit(); })
    .on('error', ({ code }) => console.log(code));`;

const connectAs = (uid: number, path: string) => {
  const options = { uid, gid: uid, encoding: 'utf8', cwd: '/' } as const;
  return spawnSync(process.execPath, ['-e', CONNECTS, path], options).stdout.trim();
};

// The child must be able to run Node, wherever that lies.
const cannot =
  process.getuid!() !== 0 || spawnSync(process.execPath, ['-v'], { uid: SOMEONE, cwd: '/' }).status !== 0;

describe.skipIf(cannot || whyNoAddon())('another user', () => {
  let directory: string;
  let queries: QueryServer;
  let worker: WorkerSocket;
  const links: number[] = [];
  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'vifd-others-'));
    queries = await serveQueries(directory, () => ['x']);
    worker = new WorkerSocket(directory, 7, { onLink: (link) => links.push(link), onError: () => {} });
  });
  afterEach(async () => {
    worker[Symbol.dispose]();
    await queries[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true });
  });

  it.each([
    ['the directory', 0o700],
    ['each socket, should the directory be open', 0o755],
  ])('is refused by %s', (_name, mode) => {
    chmodSync(directory, mode);
    for (const name of ['socket', 'worker-7'])
      expect(connectAs(SOMEONE, join(directory, name))).toBe('EACCES');
    expect(links).toEqual([]);
  });

  it('is who is refused: root is not', () => {
    expect(connectAs(0, join(directory, 'socket'))).toBe('connected');
    // The socket of a worker is one for datagrams, which the kernel reports after it has examined the rights.
    expect(connectAs(0, join(directory, 'worker-7'))).toBe('EPROTOTYPE');
  });
});
