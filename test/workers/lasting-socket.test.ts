import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { LastingSocket } from '../../lib/workers/lasting-socket.js';
import { WorkerSocket } from '../../lib/workers/worker-socket.js';
import { whyNoAddon } from '../native/reason.js';

const PID = 4711;

describe.skipIf(whyNoAddon())('the socket that a worker keeps there', () => {
  const hypervisor = new ModelHypervisor();
  const { clock } = hypervisor.open(0);
  let root: string;
  let directory: string;
  let reports: string[];
  const begin = () =>
    new LastingSocket({
      clock,
      log: {
        error: ({ message }) => reports.push(message),
        mended: ({ message }) => reports.push(`mended: ${message}`),
      },
      open: () => new WorkerSocket(directory, PID, { onLink: () => {}, onError: () => {} }),
    });
  const path = () => join(directory, `worker-${PID}`);
  const pass = async (ms: number) => {
    await hypervisor.advance(ms);
    await new Promise(setImmediate);
  };
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'vifd-socket-'));
    directory = join(root, 'run');
    reports = [];
  });
  afterEach(() => rmSync(root, { recursive: true }));

  it('is made again after it was deleted, which is reported, and its end is, too', async () => {
    mkdirSync(directory);
    using _socket = begin();
    rmSync(path());
    await pass(500);
    expect(reports).toEqual([expect.stringContaining('was deleted')]);
    await pass(2000);
    expect(existsSync(path())).toBe(true);
    expect(reports).toEqual([expect.anything(), expect.stringMatching(/^mended: .*was deleted/)]);
    await pass(2000);
    expect(reports).toHaveLength(2);
  });

  it('is tried again while it cannot be made', async () => {
    using _socket = begin();
    await pass(100);
    expect(reports).toEqual([expect.stringContaining('cannot be made (ENOENT)')]);
    mkdirSync(directory);
    await pass(2000);
    expect(existsSync(path())).toBe(true);
    expect(reports).toHaveLength(2);
  });

  it('ends with the worker, and is not made again', async () => {
    mkdirSync(directory);
    begin()[Symbol.dispose]();
    await pass(2000);
    expect(existsSync(path())).toBe(false);
    expect(reports).toEqual([]);
  });
});
