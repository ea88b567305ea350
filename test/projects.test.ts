import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { XENSIM_LIBRARIES } from '../worlds/places.js';
import { Datagrams, whyNoDatagrams } from '../worlds/processes/datagrams.js';
import { until } from '../worlds/processes/until.js';
import { examplesIn, printsOf } from './doc-examples.js';
import { EmbedWorld } from './embed/embed-world.js';
import { InstalledProject } from './installed-project.js';

const built = existsSync('dist/index.js') && existsSync(join(XENSIM_LIBRARIES, 'libxengnttab.so.1'));

/** Programs that were written from README.md and docs/api.md alone; the comments behind their calls of `console.log` have what they print. */
const NEWCOMERS = 'test/projects/newcomer';
const newcomers = ['firewall', 'flows', 'switch'];

const examples = ['docs/api.md', 'docs/model.md'].flatMap((document) =>
  examplesIn(document).map((example) => ({ ...example, document })),
);

function canMakeTaps(): boolean {
  return existsSync('/dev/net/tun') && spawnSync('unshare', ['-n', 'true']).status === 0;
}

/** This Node, and those that `npm run test:node` has fetched: no test waits for a registry. */
function nodes(): [version: string, program: string][] {
  const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'vifd/node');
  const fetched = existsSync(cache) ? readdirSync(cache) : [];
  const ready = fetched.filter((name) => /^\d+\.\d+\.\d+-/.test(name));
  return [
    [process.version, process.execPath],
    ...ready.map((name): [string, string] => [`v${name}`, join(cache, name, 'bin/node')]),
  ];
}

describe.skipIf(!built)('a project that has installed the tarball', () => {
  let project: InstalledProject;
  let xensim: EmbedWorld;
  /** Of a program that opens Xen: it finds the simulated one. */
  let env: NodeJS.ProcessEnv;

  beforeAll(async () => {
    xensim = await EmbedWorld.open();
    const places = { VIFD_XEN_LIBRARIES: XENSIM_LIBRARIES, XENSTORED_PATH: xensim.socket(0) };
    env = { ...xensim.environment(0), ...places };
    project = new InstalledProject();
    project.copy('test/projects');
    project.copy('examples');
    examples.forEach(({ code }, i) => {
      writeFileSync(join(project.folder, `example-${i}.ts`), code);
    });
    const programs = ['joined.ts', 'in-worker.ts', 'required.cts', ...readdirSync('examples')];
    for (const file of readdirSync(NEWCOMERS)) programs.push(join('newcomer', file));
    await project.compile([...programs, ...examples.map((_, i) => `example-${i}.ts`)], { module: 'node20' });
  }, 180_000);
  afterAll(async () => {
    project?.[Symbol.dispose]();
    await xensim[Symbol.asyncDispose]();
  });

  // In CommonJS, TypeScript allows `import` of such a package from module node20 on; node16 wants `await import('vifd')`.
  it.each([
    ['node16', { module: 'node16' }],
    ['a bundler', { module: 'esnext', moduleResolution: 'bundler' }],
    ['no library beyond ES2022 but disposal', { module: 'node16', lib: ['es2022', 'esnext.disposable'] }],
  ])('is compiled by TypeScript, strict, for %s', async (_name, options) => {
    await project.compile(['joined.ts', 'in-worker.ts'], { ...options, noEmit: true });
  });

  it.for(examples.map((example, i) => ({ ...example, i })))(
    'runs the example of $document, $heading',
    async ({ code, prints, i }, { skip }) => {
      const needsTap = code.includes("tap({ name: 'vif");
      if (needsTap && !canMakeTaps()) skip('needs root and /dev/net/tun');
      const node = needsTap ? 'unshare' : process.execPath;
      const args = [...(needsTap ? ['-n', process.execPath] : []), `example-${i}.js`];
      const lines = (await project.run(args, { node, env })).split('\n');
      expect(lines).toEqual(expect.arrayContaining([...prints]));
      expect(lines.filter((line) => /warning|error/i.test(line))).toEqual([]);
    },
  );

  it('runs the program of docs/model.md on xensim, too', async () => {
    const guest = await xensim.guest(7);
    const index = examples.findIndex(({ document }) => document === 'docs/model.md');
    const printed = project.run([`example-${index}.js`, 'xen'], { env });
    await Promise.race([xensim.connected(7), printed]);
    for (const size of [60, 1514, 60]) guest.send([{ page: 0, size }]);
    expect(await printed).toBe('60 1514 60\n');
  });

  it.each(newcomers)("runs a newcomer's %s, which ends by itself", async (name) => {
    const prints = printsOf(readFileSync(join(NEWCOMERS, `${name}.ts`), 'utf8'));
    expect(prints.length).toBeGreaterThan(0);
    expect(await project.run([`newcomer/${name}.js`])).toBe(`${prints.join('\n')}\n`);
  });

  it.skipIf(whyNoDatagrams !== undefined)(
    "runs a newcomer's backend as a service: a guest stays connected over a restart",
    async () => {
      const guest = await xensim.guest(8);
      const service = {
        RUNTIME_DIRECTORY: xensim.journal(),
        NOTIFY_SOCKET: join(xensim.directory, 'notify'),
      };
      for (const how of ['new', 'again']) {
        using datagrams = await Datagrams.bind(service.NOTIFY_SOCKET);
        const program = xensim.start(join(project.folder, 'newcomer/backend.js'), [], service);
        await datagrams.until('READY=1');
        guest.send([{ page: 0 }]);
        await until(() => guest.txResponses().length > 0, 10_000);
        const ended = await program.stop('SIGTERM');
        rmSync(service.NOTIFY_SOCKET);
        expect(ended).toEqual({
          code: 0,
          output: expect.stringMatching(new RegExp(`^vif8\\.0 ${how}$`, 'm')),
          errors: '',
        });
        expect(ended.output).toMatch(/^detaches from [12]$/m);
      }
    },
  );

  it('runs examples/lab.ts as a unit test', async () => {
    const printed = await project.run(['--test', '--test-reporter=tap', 'lab.js']);
    expect(printed).toMatch(/^# pass 2$/m);
  });

  describe.each(nodes())('by Node %s', (_version, node) => {
    it('imports vifd', async () => {
      expect(await project.run(['joined.js'], { node })).toBe('60\n');
    });

    it('requires vifd from CommonJS', async () => {
      expect(await project.run(['required.cjs'], { node })).toBe('60\n');
    });

    it('opens Xen in a worker thread, which ends by itself or is terminated', async () => {
      const printed = await project.run(['in-worker.js'], { node, env });
      expect(printed).toBe('event disposal 0\nevent terminate 1\n');
    });
  });
});
