import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { jsonLine } from '../../lib/text.js';
import { CLI, type LinksWorld, NODE, SOON, START_MS, withLinks } from './links-world.js';
import { OutputSchema, type SchemaName } from './schemas.js';

/** Output of the programs themselves, for a vif that is served. schemas.test.ts has each property; these tests run the whole path. */
function tests(world: LinksWorld): void {
  const { vifd, connect, newVif, ip } = world;

  /** Returns the line that a verb prints. */
  function printed(...args: string[]): string {
    const env = { ...process.env, ...world.env };
    const { stdout, stderr } = spawnSync(process.execPath, [CLI, ...args, '--json'], {
      env,
      encoding: 'utf8',
    });
    if (stdout === '') throw new Error(`vifd ${args.join(' ')} printed nothing: ${stderr}`);
    return stdout.trimEnd();
  }

  function expectDescribed(name: SchemaName, lines: readonly string[]): OutputSchema {
    const schema = new OutputSchema(name);
    for (const line of lines) expect([line, schema.faultsOf(line)]).toEqual([line, []]);
    return schema;
  }

  it('matches the schemas: show, list, check, and the events of run', async () => {
    await newVif({ bridge: 'br0' });
    await world.store.write(`${NODE}/rate`, '10000000,50000');
    await world.store.write(`${NODE}/mtu`, '1500');
    const daemon = vifd(['--bridge', 'br0']);
    await connect();
    await daemon.until('attached');
    const journal = ['--journal', join(world.directory, 'j')];

    const list = expectDescribed('list', [printed('list', ...journal)]);
    expect(list.unseen.filter((pointer) => !/\/(worker|parked)/.test(pointer))).toEqual([]);
    expect(expectDescribed('check', [printed('check', ...journal)]).unseen).toEqual([]);

    // vifd listens from a second after it is ready on, and later on a busy machine.
    await daemon.until('ready');
    await expect
      .poll(() => existsSync(join(world.directory, 'j', 'socket')), { timeout: START_MS })
      .toBe(true);
    ip('link', 'set', 'vif7.0', 'down');
    await daemon.until('error');
    const show = expectDescribed('show', [
      printed('show', ...journal),
      printed('show', 'vif7.0', ...journal),
    ]);
    // This guest has no control ring, and this vifd no workers: test/workers/run-workers.test.ts has some.
    const others = /^(#connection\/hash|\/processes|\/vifs\[\]\/(worker|parked))/;
    expect(show.unseen.filter((pointer) => !others.test(pointer))).toEqual([]);
    ip('link', 'set', 'vif7.0', 'up');
    await daemon.until('mended');
    // A journal of a vif that went while no vifd ran.
    await daemon.end('SIGTERM');
    writeFileSync(join(world.directory, 'j', 'vif9.0.journal'), '');
    const next = vifd(['--bridge', 'br0']);
    await expect.poll(() => next.lines.map(({ event }) => event), SOON).toContain('ready');
    await next.end('SIGTERM');
    const lines = [...daemon.lines, ...next.lines];
    const events = ['attached', 'detached', 'error', 'mended', 'ready', 'stopping', 'swept'];
    expect([...new Set(lines.map(({ event }) => event))].sort()).toEqual(events);
    expectDescribed('run-event', lines.map(jsonLine));
  });
}

withLinks(import.meta.url, 'what vifd prints for programs', tests);
