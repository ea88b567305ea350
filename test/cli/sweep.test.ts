import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { sweep } from '../../lib/daemon/sweep.js';
import { VifdError } from '../../lib/errors.js';

describe('what vifs leave that go while no vifd runs', () => {
  let directory: string;
  const taps: string[] = [];
  const kept: VifdError[] = [];
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'vifd-sweep-'));
    taps.length = 0;
    kept.length = 0;
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  const run = (
    present: string[],
    removeTap = async (name: string) => void taps.push(name),
    domainExists: (domid: number) => boolean | undefined = () => undefined,
  ) =>
    sweep({
      store: {
        read: async (path) =>
          present.some((node) => `${path}/`.startsWith(`${node}/`)) ? 'there' : undefined,
      },
      domid: 0,
      directory,
      journals: { remove: (name) => rmSync(join(directory, `${name}.journal`)) },
      removeTap,
      domainExists,
      onLeft: (error) => kept.push(error),
    });

  it('is removed with all of its journals, and nothing else', async () => {
    for (const name of [
      'vif1.0.journal',
      'vif1.0.q0.journal',
      'vif1.0.q1.journal',
      'vif1.0.counters.journal',
      'vif2.0.counters.journal',
      'vif2.0.q0.journal',
      'vif2.1.q0.journal',
      'notes',
    ])
      writeFileSync(join(directory, name), '');
    const removed = await run(['/local/domain/0/backend/vif/2/0']);
    expect(removed).toEqual(['vif1.0', 'vif2.1']);
    expect(taps).toEqual(removed);
    expect(readdirSync(directory)).toEqual(['notes', 'vif2.0.counters.journal', 'vif2.0.q0.journal']);
  });

  it('is removed with a vif that had no guest connected, whose counters are its only journal', async () => {
    writeFileSync(join(directory, 'vif3.0.counters.journal'), '');
    expect(await run([])).toEqual(['vif3.0']);
    expect(taps).toEqual(['vif3.0']);
    expect(readdirSync(directory)).toEqual([]);
  });

  it('is left where another process has the tap', async () => {
    writeFileSync(join(directory, 'vif1.0.q0.journal'), '');
    const busy = async () => {
      throw new VifdError('ERR_TAP', 'busy', { errno: 'EBUSY' });
    };
    expect(await run([], busy)).toEqual([]);
    expect(readdirSync(directory)).toEqual(['vif1.0.q0.journal']);
  });

  it('stays where the domain runs and xenstore has lost all of it', async () => {
    for (const domid of [1, 2, 3]) writeFileSync(join(directory, `vif${domid}.0.q0.journal`), '');
    // Domain 1 runs, and is in no store; domain 2 runs without this vif; domain 3 is gone.
    const removed = await run(['/local/domain/2'], undefined, (domid) => domid !== 3);
    expect(removed).toEqual(['vif2.0', 'vif3.0']);
    expect(readdirSync(directory)).toEqual(['vif1.0.q0.journal']);
    expect(kept).toMatchObject([{ code: 'ERR_NODE_GONE', vif: 'vif1.0' }]);
  });

  it('is nothing where there never was a journal', async () => {
    rmSync(directory, { recursive: true });
    expect(await run([])).toEqual([]);
    directory = mkdtempSync(join(tmpdir(), 'vifd-sweep-'));
  });
});
