import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, it } from 'vitest';

const INSIDE = 'VIFD_OWN_NETWORK';
const vitest = fileURLToPath(new URL('../node_modules/vitest/vitest.mjs', import.meta.url));

interface Result {
  readonly testResults: {
    readonly status: string;
    readonly message: string;
    readonly assertionResults: {
      readonly ancestorTitles: string[];
      readonly title: string;
      readonly status: string;
      readonly failureMessages: string[];
    }[];
  }[];
}

/**
 * Runs the tests that `register` makes in a network namespace of their own, where they may create any interfaces: the file runs once more
 * inside, and each result is shown outside.
 * @param url import.meta.url of the test file.
 */
export function inOwnNetwork(url: string, register: () => void): void {
  if (process.env[INSIDE]) {
    register();
    return;
  }
  // This process is root in a user namespace of its own, if the machine permits one.
  const flags = process.getuid?.() === 0 ? '-nm' : '-Urnm';
  // sysfs shows the interfaces of the namespace that it was mounted in.
  const enter = [flags, 'sh', '-c', 'mount -t sysfs sysfs /sys && exec "$@"', 'sh'];
  const tried = spawnSync('unshare', [...enter, 'test', '-w', '/dev/net/tun'], { stdio: 'ignore' });
  const file = fileURLToPath(url);
  if (tried.status !== 0) {
    it.skip('needs a network namespace of its own and /dev/net/tun: run as root', () => {});
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'vifd-net-'));
  const output = join(folder, 'results.json');
  const args = [process.execPath, vitest, 'run', file, '--reporter=json', `--outputFile=${output}`];
  const ran = spawnSync('unshare', [...enter, ...args], {
    env: { ...process.env, [INSIDE]: '1' },
    encoding: 'utf8',
  });
  relay(output, ran.stdout + ran.stderr);
  rmSync(folder, { recursive: true, force: true });
}

function relay(output: string, printed: string): void {
  let result: Result;
  try {
    result = JSON.parse(readFileSync(output, 'utf8')) as Result;
  } catch {
    it('runs in a network namespace of its own', () => {
      throw new Error(printed);
    });
    return;
  }
  for (const { status, message, assertionResults } of result.testResults) {
    // vitest counts the tests behind a hook that failed as skipped.
    const failed = assertionResults.some((test) => test.status === 'failed');
    if (assertionResults.length === 0 || (status === 'failed' && !failed)) {
      it('can be loaded and set up', () => {
        throw new Error(message || printed);
      });
    }
    for (const test of assertionResults) {
      const name = [...test.ancestorTitles, test.title].filter((title) => title !== '').join(': ');
      const skipped = test.status === 'skipped' || test.status === 'pending' || test.status === 'todo';
      describe('in a network namespace of its own', () => {
        it.skipIf(skipped)(name, () => {
          if (test.status === 'failed') throw new Error(test.failureMessages.join('\n'));
        });
      });
    }
  }
}
