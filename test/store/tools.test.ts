import { type ExecFileException, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { SocketWorld } from './socket-world.js';

/** Debian's xenstore-utils: the commands of an administrator, over the real libxenstore. */
const TOOLS = ['ls', 'read', 'write', 'list', 'watch', 'rm', 'chmod', 'exists'];
const missing = TOOLS.filter((tool) => !existsSync(`/usr/bin/xenstore-${tool}`));
if (missing.length > 0)
  console.log(`Skipped: xenstore-utils is not installed (no xenstore-${missing.join(', -')}).`);

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

describe.skipIf(missing.length > 0)('the xenstore tools', () => {
  let world: SocketWorld;

  beforeEach(async () => {
    world = await SocketWorld.make();
    await world.socket(0);
  });

  afterEach(async () => {
    await world[Symbol.asyncDispose]();
  });

  async function toolAs(domid: number, tool: string, ...args: string[]): Promise<Outcome> {
    const env = { PATH: process.env.PATH, XENSTORED_PATH: await world.socket(domid) };
    return new Promise((resolve) => {
      execFile(
        `xenstore-${tool}`,
        args,
        { env, timeout: 5000 },
        (error: ExecFileException | null, out, err) => {
          resolve({ code: error === null ? 0 : Number(error.code), out, err });
        },
      );
    });
  }

  const tool = (name: string, ...args: string[]): Promise<Outcome> => toolAs(0, name, ...args);
  const ok = (out: string): Outcome => ({ code: 0, out, err: '' });
  const failed = (err: string): Outcome => ({ code: 1, out: '', err: `${err}\n` });

  it('write, read and list', async () => {
    expect(await tool('write', '/a/b', 'hello', '/a/c', 'two words')).toEqual(ok(''));
    expect(await tool('read', '/a/b')).toEqual(ok('hello\n'));
    expect(await tool('read', '-p', '/a/b', '/a/c')).toEqual(ok('/a/b: hello\n/a/c: two words\n'));
    expect(await tool('list', '/a')).toEqual(ok('b\nc\n'));
    expect(await tool('list', '-p', '/a')).toEqual(ok('/a/b\n/a/c\n'));
  });

  it('write several keys in one transaction', async () => {
    const connect = world.store.connect.bind(world.store);
    const ends: unknown[] = [];
    vi.spyOn(world.store, 'connect').mockImplementationOnce((domid, events) => {
      const session = connect(domid, events);
      const end = session.end.bind(session);
      vi.spyOn(session, 'end').mockImplementation((tx, commit) => {
        ends.push(commit, world.store.table.get('/t/a'));
        end(tx, commit);
      });
      return session;
    });
    expect(await tool('write', '/t/a', '1', '/t/b', '2')).toEqual(ok(''));
    // One commit, and nothing was there before it.
    expect(ends).toEqual([true, undefined]);
    expect(await tool('list', '/t')).toEqual(ok('a\nb\n'));
  });

  it('write nothing when one of several keys is refused', async () => {
    expect(await tool('write', '/t/a', '1', '/bad//path', '2')).toEqual(
      failed('xenstore-write: could not write path /bad//path'),
    );
    expect(await tool('exists', '/t/a')).toEqual({ code: 1, out: '', err: '' });
  });

  it('show the whole tree, with permissions and full paths', async () => {
    await tool('write', '/a/b', 'hello');
    await tool('chmod', '/a/b', 'n0', 'r5');
    expect(await tool('ls')).toEqual(ok('tool = ""\n xenstored = ""\na = ""\n b = "hello"\n'));
    expect(await tool('ls', '-f', '/a')).toEqual(ok('/a/b = "hello"\n'));
    expect(await tool('ls', '-f', '-p', '/a')).toEqual(ok('/a/b = "hello"   (n0,r5)\n'));
    expect((await tool('ls', '-p')).out).toMatch(/^a = ""[ .]+\(n0\)\n b = "hello"[ .]+\(n0,r5\)\n/m);
  });

  it('list a directory that needs more than one message', async () => {
    const names = Array.from({ length: 600 }, (_, index) => `name-${index}`);
    await using store = await world.open(0);
    await Promise.all(names.map((name) => store.write(`/big/${name}`, '')));
    expect((await tool('list', '/big')).out).toBe(`${names.join('\n')}\n`);
  });

  it('change permissions, one node or all below', async () => {
    await tool('write', '/p/q', 'x');
    expect(await tool('chmod', '-r', '/p', 'b0', 'w3')).toEqual(ok(''));
    await using store = await world.open(0);
    const expected = [
      { domid: 0, access: 'both' },
      { domid: 3, access: 'write' },
    ];
    expect(await store.getPermissions('/p')).toEqual(expected);
    expect(await store.getPermissions('/p/q')).toEqual(expected);
  });

  it('remove, and report what exists', async () => {
    await tool('write', '/r/x', '');
    expect(await tool('exists', '/r/x')).toEqual(ok(''));
    expect(await tool('rm', '/r')).toEqual(ok(''));
    expect(await tool('exists', '/r/x')).toEqual({ code: 1, out: '', err: '' });
    expect(await tool('rm', '/r')).toEqual(ok(''));
  });

  it('remove with the parents that are left empty', async () => {
    await tool('write', '/t/u/v', '');
    expect(await tool('rm', '-t', '/t/u/v')).toEqual(ok(''));
    expect(await tool('exists', '/t')).toEqual({ code: 1, out: '', err: '' });
  });

  it('report what is missing or forbidden', async () => {
    expect(await tool('read', '/nope')).toEqual(failed("xenstore-read: couldn't read path /nope"));
    expect(await tool('list', '/nope')).toEqual(failed('xenstore-list: could not list path /nope'));
    expect(await tool('rm', '/nope/x')).toEqual(failed('xenstore-rm: could not remove path /nope/x'));
    expect(await tool('ls', '/nope')).toEqual(
      failed('xenstore-ls: xs_directory (/nope): No such file or directory'),
    );
    expect(await toolAs(5, 'ls')).toEqual(failed('xenstore-ls: xs_directory (/): Permission denied'));
    expect(await toolAs(5, 'write', '/x', 'y')).toEqual(failed('xenstore-write: could not write path /x'));
  });

  it('watch', async () => {
    const env = { PATH: process.env.PATH, XENSTORED_PATH: await world.socket(0) };
    const watcher = spawn('xenstore-watch', ['-n', '4', '/w'], { env, stdio: ['ignore', 'pipe', 'inherit'] });
    const exit = once(watcher, 'exit');
    let out = '';
    watcher.stdout.on('data', (chunk) => {
      out += chunk;
    });
    // Its output is buffered until it ends: its first event cannot be waited for, only its watch.
    await vi.waitFor(() => expect(world.store.watches.count(0)).toBe(1));
    await tool('write', '/w/a', '1');
    await tool('write', '/elsewhere', '1');
    await tool('rm', '/w/a');
    await tool('rm', '/w');
    expect(await exit).toEqual([0, null]);
    expect(out).toBe('/w\n/w/a\n/w/a\n/w\n');
  });
});
