import { execFile } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { xensimMissing } from '../../worlds/model/machine.js';
import { BACKEND_PROGRAM } from '../../worlds/places.js';
import { Datagrams, whyNoDatagrams } from '../../worlds/processes/datagrams.js';
import { until } from '../../worlds/processes/until.js';
import { EmbedWorld } from './embed-world.js';

/** Longer than a program waits before its socket is there. */
const ASKED_MS = 10_000;

const why = xensimMissing ?? whyNoDatagrams;

describe.skipIf(why !== undefined)('a program with a runtime directory, over xensim', () => {
  let world: EmbedWorld;
  beforeEach(async () => {
    world = await EmbedWorld.open();
  });
  afterEach(() => world[Symbol.asyncDispose]());

  /** A program that serves its guests until SIGTERM. */
  const serving = () => `
    import { asService, Netback, openXen, pair } from 'vifd';
    const xen = await openXen(xenOptions);
    const options = { xen, port: () => pair()[0], runtimeDirectory: ${JSON.stringify(world.journal())} };
    const netback = await Netback.open(options, {
      attached: (vif, how) => console.log(vif.id, how.resumed ? 'again' : 'new', vif.show().connection.journal),
      error: (error) => console.log(error.code),
    }).catch(async (error) => {
      await xen[Symbol.asyncDispose]();
      console.log(error.code, 'done');
    });
    const service = netback && asService(netback);
    process.once('SIGTERM', async () => {
      for (const one of [service, netback, xen]) await one[Symbol.asyncDispose]();
      console.log('done');
    });
    if (netback) console.log('serves');
  `;

  it('has journals, resumes after a kill, and leaves its directory to one process at a time', async () => {
    const guest = await world.guest(7);
    const first = world.program(serving());
    await first.printed('vif7.0 new true');
    guest.send([{ page: 0 }]);
    await until(() => guest.txResponses().length === 1, ASKED_MS);
    expect(await world.program(serving()).ended).toEqual({
      code: 0,
      output: 'ERR_RUNNING done\n',
      errors: '',
    });
    await first.stop('SIGKILL');
    expect(readdirSync(world.journal())).toContain('vif7.0.journal');
    const second = world.program(serving());
    await second.printed('serves');
    const output = 'vif7.0 again true\nserves\ndone\n';
    expect(await second.stop('SIGTERM')).toEqual({ code: 0, output, errors: '' });
    // The lock has ended with the netback.
    const third = world.program(serving());
    await third.printed('serves');
    expect((await third.stop('SIGTERM')).code).toBe(0);
  });

  it('responds to `vifd show`, and tells its service manager that it is ready and that it ends', async () => {
    await world.guest(7);
    const notify = join(world.directory, 'notify');
    using datagrams = await Datagrams.bind(notify);
    const program = world.program(serving(), { NOTIFY_SOCKET: notify });
    await datagrams.until('READY=1');
    expect(datagrams.received).toEqual(['READY=1;STATUS=1 vif attached']);
    const socket = join(world.journal(), 'socket');
    await until(() => existsSync(socket), ASKED_MS);
    const show = [BACKEND_PROGRAM, 'show', '--json', '--journal', world.journal()];
    const { stdout } = await promisify(execFile)(process.execPath, show);
    expect(JSON.parse(stdout)).toMatchObject({ vifs: [{ id: 'vif7.0', state: 'connected' }] });
    expect(await program.stop('SIGTERM')).toMatchObject({ code: 0, errors: '' });
    await datagrams.until('STOPPING');
    expect(datagrams.received.at(-1)).toBe('STOPPING=1;STATUS=detaching; guests stay connected');
    expect(existsSync(socket)).toBe(false);
  });
});
