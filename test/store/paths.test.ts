import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connectFirst } from '../../lib/xen/store/connect.js';

describe('the paths at which xenstored is looked for', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'vifd-paths-'));
    // Stands for the kernel's device.
    writeFileSync(join(directory, 'device'), '');
  });
  afterEach(() => rmSync(directory, { recursive: true }));
  const paths = () => ['socket', 'device'].map((name) => join(directory, name));

  it('end at a socket that refuses: a write to the device would wait for that xenstored without an end', async () => {
    // Leaves its socket behind, as a killed daemon does.
    const bind = `require('node:net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`;
    expect(() => execFileSync(process.execPath, ['-e', bind, paths()[0]!])).toThrow();
    await expect(connectFirst(paths())).rejects.toThrow(/tried \S*socket \(ECONNREFUSED\)\./);
  });

  it('go on behind a socket that is not there, as in a driver domain', async () => {
    const transport = await connectFirst(paths());
    expect(transport.path).toBe(paths()[1]);
    transport.close();
  });
});
