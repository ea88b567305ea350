import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { xensimMissing } from '../../worlds/model/machine.js';
import { ROOT } from '../../worlds/places.js';
import { inOwnNetwork } from '../own-network.js';
import { ip } from '../tap-network.js';
import { EmbedWorld } from './embed-world.js';

/** Long enough for a program to continue after it has attached to its guest. */
const CONTINUES_MS = 500;

/** Compiles the examples as a user does. @returns the folder of the results. */
function compiled(): string {
  mkdirSync(join(ROOT, 'build'), { recursive: true });
  // Below the package, so that 'vifd' is found.
  const folder = mkdtempSync(join(ROOT, 'build/examples-'));
  const names = ['count-frames', 'embed', 'firewall', 'two-guests'];
  const options = [
    ...['--ignoreConfig', '--strict', '--target', 'es2022', '--module', 'node20', '--types', 'node'],
    ...['--lib', 'es2023,esnext.disposable', '--skipLibCheck', '--rootDir', join(ROOT, 'examples')],
    ...['--outDir', folder],
  ];
  const files = names.map((name) => join(ROOT, `examples/${name}.ts`));
  execFileSync(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), ...options, ...files], {
    cwd: ROOT,
  });
  return folder;
}

describe.skipIf(xensimMissing !== undefined)('the examples as programs, over xensim', () => {
  inOwnNetwork(import.meta.url, () => {
    let folder: string;
    let world: EmbedWorld;
    beforeAll(() => {
      folder = compiled();
      ip('link', 'add', 'xenbr0', 'type', 'bridge');
      ip('link', 'set', 'xenbr0', 'up');
    }, 60_000);
    afterAll(() => rmSync(folder, { recursive: true, force: true }));
    beforeEach(async () => {
      world = await EmbedWorld.open();
    });
    afterEach(() => world[Symbol.asyncDispose]());

    it.each([
      {
        example: 'embed',
        domids: [7],
        args: [],
        signal: 'SIGTERM',
        output: /^vif7\.0 new\n1 vifs at the start\n$/,
      },
      { example: 'firewall', domids: [7], args: [], signal: 'SIGTERM', output: /^1 vifs at the start\n$/ },
      { example: 'count-frames', domids: [7], args: [], signal: 'SIGINT', output: /\(index\)/ },
      {
        example: 'two-guests',
        domids: [7, 8],
        args: ['7', '8'],
        signal: 'SIGTERM',
        output: /^vif[78]\.0 is joined\nvif[78]\.0 is joined\n$/,
      },
    ] as const)(
      '$example serves its guests, and ends on $signal',
      async ({ example, domids, args, signal, output }) => {
        for (const domid of domids) await world.guest(domid);
        const program = world.start(join(folder, `${example}.js`), args);
        for (const domid of domids) await Promise.race([world.connected(domid), program.ended]);
        await sleep(CONTINUES_MS);
        const ended = await program.stop(signal);
        expect(ended).toEqual({ code: 0, output: expect.stringMatching(output), errors: '' });
      },
    );
  });
});
