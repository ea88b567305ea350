/**
 * `npm run test:node -- [--or-skip] VERSION [ARGUMENTS OF VITEST]`: builds, and runs the tests, and all programs that they start, by
 * another Node than the one that is installed here. The addon is built once: Node-API is the same in all. --or-skip is for the gate:
 * without a registry the run counts as one skipped test.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fetchNode, NodeUnavailable } from './node-package.mjs';

const USAGE = `npm run test:node -- [--or-skip] VERSION [ARGUMENTS OF VITEST]

Builds vifd, and runs its tests by another Node, from the npm registry:
  npm run test:node -- 24                      all tests, by the newest Node 24
  npm run test:node -- 22.12.0 test/cli        those in test/cli, by Node 22.12.0
  --or-skip                                    counts as a skipped test if the registry cannot be reached
Fetched versions stay in \${XDG_CACHE_HOME:-~/.cache}/vifd/node. Exit codes: vitest's, or 2 if there is no such Node.`;
const EXIT_UNAVAILABLE = 2;
const ADDON = 'build/Release/vifd.node';
const LOADED = `require(require('node:path').resolve('${ADDON}'));
const { node, v8, napi } = process.versions;
console.log('Node ' + node + ' (V8 ' + v8 + ', Node-API ' + napi + ') loads the addon that ' + process.argv[1] + ' has built');`;

process.chdir(fileURLToPath(new URL('..', import.meta.url)));

const args = process.argv.slice(2);
const orSkip = args[0] === '--or-skip';
if (orSkip) args.shift();
const [wanted, ...rest] = args;
if (wanted === undefined || wanted === '--help' || wanted === '-h') {
  console.log(USAGE);
  process.exit(wanted === undefined ? EXIT_UNAVAILABLE : 0);
}

process.exitCode = await main();

async function main() {
  let node;
  try {
    node = fetchNode(wanted.replace(/^v/, ''));
  } catch (error) {
    if (!(error instanceof NodeUnavailable)) throw error;
    if (!orSkip || !error.unreachable) {
      console.error(`test:node: ${error.message}`);
      return EXIT_UNAVAILABLE;
    }
    console.log(`skipped: the tests by Node ${wanted}: ${error.message}`);
    console.log('0 passed, 0 failed, 1 skipped');
    return 0;
  }
  const setUp = spawnSync(process.execPath, ['scripts/setup.mjs'], { stdio: 'inherit' });
  if (setUp.status !== 0) return setUp.status ?? 1;
  // In front, for what starts `node` by its name. npm's own variables name the Node that npm runs by.
  const { NODE: _node, npm_node_execpath: _npm, ...others } = process.env;
  const env = { ...others, PATH: `${node.bin}${delimiter}${process.env.PATH}` };
  const failure = addonFailure(`${node.bin}/node`);
  if (failure !== undefined) {
    console.error(
      `test:node: Node ${node.version} cannot load the addon that ${process.version} has built: ${failure}`,
    );
    return 1;
  }
  // vifd starts from compiled code in tests that measure time, as by the Node that has built it.
  spawnSync(`${node.bin}/node`, ['scripts/code-cache.mjs'], { stdio: 'inherit', env });
  return run(`${node.bin}/node`, ['node_modules/vitest/vitest.mjs', 'run', ...rest], env);
}

/** @returns {string | undefined} why it does not load. Without an addon the tests that need it are skipped. */
function addonFailure(program) {
  if (!existsSync(ADDON)) return undefined;
  const { status, signal, stderr } = spawnSync(program, ['-e', LOADED, process.version], {
    encoding: 'utf8',
    stdio: ['ignore', 'inherit', 'pipe'],
  });
  return status === 0 ? undefined : (signal ?? stderr.match(/^\w*Error: (.*)$/m)?.[1] ?? stderr);
}

/** @returns {Promise<number>} the exit code. A signal goes to the tests, which clean up. */
function run(program, args, env) {
  const child = spawn(program, args, { stdio: 'inherit', env });
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code, signal) => resolve(code ?? 128 + constants.signals[signal]));
  });
}
