import { closeSync, existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addon } from '../../lib/addon.js';
import type { VifdError } from '../../lib/errors.js';
import { linkTo, WorkerSocket, workersIn } from '../../lib/workers/worker-socket.js';
import { inodeOf, openCount, withOpen } from '../host/descriptors.js';
import { whyNoAddon } from '../native/reason.js';

const PID = 4711;

describe.skipIf(whyNoAddon())('the socket of a worker', () => {
  let directory: string;
  let before: number;
  const links: number[] = [];
  const errors: VifdError[] = [];
  const begin = () =>
    new WorkerSocket(directory, PID, {
      onLink: (descriptor) => links.push(descriptor),
      onError: (error) => errors.push(error),
    });
  const path = () => join(directory, `worker-${PID}`);
  const calm = async () => {
    for (let i = 0; i < 3; i++) await turn();
  };
  beforeEach(() => {
    before = openCount();
    directory = mkdtempSync(join(tmpdir(), 'vifd-workers-'));
  });
  afterEach(async () => {
    for (const link of links.splice(0)) closeSync(link);
    errors.length = 0;
    await calm();
    expect(openCount()).toBe(before);
    rmSync(directory, { recursive: true, force: true });
  });

  it('passes a link on, which a supervisor that finds it makes', async () => {
    using _socket = begin();
    expect(workersIn(directory)).toEqual([PID]);
    const own = linkTo(directory, PID)!;
    await calm();
    expect(links).toHaveLength(1);
    addon().sendMessage(links[0], Buffer.from('hello'), []);
    const bytes = new Uint8Array(8);
    expect(addon().receiveMessage(own, bytes, 1)).toEqual({ bytes: 5, descriptors: [] });
    closeSync(own);
  });

  it('is for its own user alone, and ends with the worker', () => {
    {
      using _socket = begin();
      expect(statSync(path()).mode & 0o777).toBe(0o600);
    }
    expect(existsSync(path())).toBe(false);
    expect(linkTo(directory, PID)).toBeUndefined();
  });

  it('is removed by whoever finds that its worker was killed, and replaced by a worker with that id', () => {
    // As a killed process leaves it.
    const leave = () => closeSync(addon().bindDatagrams(path()));
    leave();
    expect(workersIn(directory)).toEqual([PID]);
    expect(linkTo(directory, PID)).toBeUndefined();
    expect(workersIn(directory)).toEqual([]);
    leave();
    using _socket = begin();
    closeSync(linkTo(directory, PID)!);
  });

  it('refuses what is no link, and continues', async () => {
    using _socket = begin();
    addon().sendDatagram(path(), 'link');
    withOpen(['/dev/null'], (one) => addon().sendDatagram(path(), 'a long text', one));
    await calm();
    expect(errors.map(({ code, errno }) => [code, errno])).toEqual([
      ['ERR_WORKER', undefined],
      ['ERR_WORKER', 'EMSGSIZE'],
    ]);
    closeSync(linkTo(directory, PID)!);
    await calm();
    expect(links).toHaveLength(1);
  });

  it('is found among other files', () => {
    for (const name of [
      'worker-',
      'worker-0',
      'worker-12x',
      'xworker-12',
      'worker-012',
      'socket',
      'vif7.0.journal',
    ])
      writeFileSync(join(directory, name), '');
    expect(workersIn(directory)).toEqual([]);
    expect(() => workersIn(join(directory, 'missing'))).toThrow(
      expect.objectContaining({ code: 'ERR_WORKER', errno: 'ENOENT' }),
    );
  });

  it('cannot be made where there is no directory', () => {
    rmSync(directory, { recursive: true });
    expect(begin).toThrow(expect.objectContaining({ code: 'ERR_WORKER', errno: 'ENOENT' }));
  });

  it('passes on the very descriptor', async () => {
    using _socket = begin();
    const inode = withOpen(['/dev/null'], (one) => {
      addon().sendDatagram(path(), 'link', one);
      return inodeOf(one);
    });
    await calm();
    expect(links.map(inodeOf)).toEqual([inode]);
  });
});
