import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

const NAME = `node-linux-${process.arch}`;
const VERSIONS = ['24.9.0', '24.10.0', '22.20.1'];
const known = ['x64', 'arm64'].includes(process.arch);

/** Prints what `fetchNode` returns, or its error, from a process that has only these caches and this registry. */
const PROGRAM = `
  import { fetchNode } from '${resolve('scripts/node-package.mjs')}';
  try { console.log(JSON.stringify(fetchNode(process.argv[1]))); }
  catch (error) { console.log(JSON.stringify({ message: error.message, unreachable: error.unreachable })); }
`;

interface Fetched {
  readonly version?: string;
  readonly bin?: string;
  readonly message?: string;
  readonly unreachable?: boolean;
}

describe.skipIf(!known)('another Node for the tests', () => {
  let base: string;
  let server: Server;
  let requests: string[];
  let registry: string;
  let damaged = false;

  beforeAll(async () => {
    base = mkdtempSync(join(tmpdir(), 'vifd-registry-'));
    const tarballs = new Map(VERSIONS.map((version) => [version, tarballOf(version)]));
    server = createServer(({ url = '' }, response) => {
      requests.push(url);
      const [, version] = /-(\d+\.\d+\.\d+)\.tgz$/.exec(url) ?? [];
      const tarball = version === undefined ? undefined : tarballs.get(version);
      if (tarball !== undefined) response.end(damaged ? Buffer.concat([tarball, Buffer.alloc(1)]) : tarball);
      else if (url === `/${NAME}`) response.end(JSON.stringify(describePackage(tarballs)));
      else response.writeHead(404).end('{}');
    });
    await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
    registry = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => {
    server.close();
    rmSync(base, { recursive: true });
  });
  beforeEach(() => {
    requests = [];
    damaged = false;
    for (const folder of ['cache', 'npm']) rmSync(join(base, folder), { recursive: true, force: true });
  });

  /** A package whose `node` prints that version. */
  function tarballOf(version: string): Buffer {
    const folder = join(base, version, 'package');
    mkdirSync(join(folder, 'bin'), { recursive: true });
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: NAME, version }));
    writeFileSync(join(folder, 'bin/node'), `#!/bin/sh\necho v${version}\n`);
    chmodSync(join(folder, 'bin/node'), 0o755);
    execFileSync('tar', ['-czf', `${folder}.tgz`, '-C', join(base, version), 'package']);
    return readFileSync(`${folder}.tgz`);
  }

  function describePackage(tarballs: ReadonlyMap<string, Buffer>) {
    const versions = [...tarballs].map(([version, tarball]) => {
      const integrity = `sha512-${createHash('sha512').update(tarball).digest('base64')}`;
      const dist = { tarball: `${registry}/${NAME}/-/${NAME}-${version}.tgz`, integrity };
      return [version, { name: NAME, version, dist }];
    });
    return { name: NAME, 'dist-tags': { latest: '24.10.0' }, versions: Object.fromEntries(versions) };
  }

  async function fetched(wanted: string, from = registry): Promise<Fetched> {
    const env = {
      ...process.env,
      XDG_CACHE_HOME: join(base, 'cache'),
      npm_config_cache: join(base, 'npm'),
      npm_config_registry: from,
      npm_config_fetch_retries: '0',
    };
    const args = ['--input-type=module', '-e', PROGRAM, wanted];
    const { stdout } = await promisify(execFile)(process.execPath, args, { env });
    return JSON.parse(stdout);
  }

  it('is the newest version that begins as asked, and is fetched once', async () => {
    const first = await fetched('24');
    expect(first).toEqual({
      version: '24.10.0',
      bin: join(base, `cache/vifd/node/24.10.0-${process.arch}/bin`),
    });
    expect(execFileSync(`${first.bin}/node`, { encoding: 'utf8' })).toBe('v24.10.0\n');
    const before = requests.filter((url) => url.endsWith('.tgz')).length;
    expect(await fetched('24')).toEqual(first);
    expect(requests.filter((url) => url.endsWith('.tgz'))).toHaveLength(before);
    expect(await fetched('24.9')).toMatchObject({ version: '24.9.0' });
    expect(await fetched('22.20.1')).toMatchObject({ version: '22.20.1' });
    expect(readdirSync(join(base, 'cache/vifd/node')).sort()).toEqual(
      ['22.20.1', '24.10.0', '24.9.0'].map((version) => `${version}-${process.arch}`),
    );
  }, 60_000);

  it('comes from the cache where there is no network; an exact version asks for none', async () => {
    await fetched('24.9.0');
    const away = 'http://127.0.0.1:9';
    expect(await fetched('24', away)).toMatchObject({ version: '24.9.0' });
    requests = [];
    expect(await fetched('24.9.0')).toMatchObject({ version: '24.9.0' });
    expect(requests).toEqual([]);
    expect(await fetched('22', away)).toEqual({
      message: `The npm registry cannot be reached (ECONNREFUSED), and ${join(base, 'cache/vifd/node')} has no Node 22: try again with a network.`,
      unreachable: true,
    });
  }, 60_000);

  it('is not there if the registry has none of that version', async () => {
    for (const wanted of ['27', '24.11.0'])
      expect(await fetched(wanted)).toEqual({
        message: `The npm registry has no Node ${wanted} (${NAME}): \`npm view ${NAME} versions\` prints those that it has.`,
        unreachable: false,
      });
  }, 60_000);

  it.each(['18', '20.18', '20.18.3', '0'])('is refused if vifd does not run by it: %s', async (wanted) => {
    expect(await fetched(wanted)).toEqual({
      message: `vifd needs Node >=20.19, and ${wanted} is older.`,
      unreachable: false,
    });
    expect(requests).toEqual([]);
  });

  it('is not taken if it is not what the registry describes', async () => {
    damaged = true;
    expect(await fetched('24')).toMatchObject({
      message: expect.stringMatching(/EINTEGRITY.*not what the registry describes/),
      unreachable: false,
    });
    expect(readdirSync(join(base, 'cache/vifd/node'))).toEqual([]);
    damaged = false;
    expect(await fetched('24')).toMatchObject({ version: '24.10.0' });
  }, 60_000);
});

describe('npm run test:node', () => {
  const run = (...args: string[]) =>
    spawnSync(process.execPath, ['scripts/test-node.mjs', ...args], {
      encoding: 'utf8',
      env: { ...process.env, npm_config_registry: 'http://127.0.0.1:9', XDG_CACHE_HOME: '/nowhere' },
    });

  it('prints its usage, and ends with 2 without a version', () => {
    expect(run('--help')).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^npm run test:node -- /),
    });
    expect(run()).toMatchObject({ status: 2, stdout: expect.stringMatching(/^npm run test:node -- /) });
  });

  it('ends with 2 and one line if there is no such Node', () => {
    const line = "test:node: 'new' is no version of Node: give 24 or 24.1.0, for example.\n";
    expect(run('new')).toMatchObject({ status: 2, stdout: '', stderr: line });
    expect(run('--or-skip', 'new')).toMatchObject({ status: 2, stdout: '', stderr: line });
  });

  it.skipIf(!known)(
    'counts as a skipped test in the gate if the registry cannot be reached',
    () => {
      const { status, stdout, stderr } = run('--or-skip', '24', 'test/store');
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      expect(stdout).toMatch(
        /^skipped: the tests by Node 24: The npm registry cannot be reached .*\n0 passed, 0 failed, 1 skipped\n$/,
      );
      expect(run('24', 'test/store')).toMatchObject({ status: 2 });
    },
    60_000,
  );
});
