import assert from 'node:assert/strict';
import { run } from './process.js';

/**
 * libxl logs "Timeout reached, initiating forced remove" or "timed out" when a backend does not respond. Some of these lines
 * are at debug level only, and xl ends with 0 in spite of them.
 */
const WAITED = /timeout reached|timed out/i;

/** Runs xl; it must end with 0, and must not have waited until a timeout. */
export async function xl(...args: string[]): Promise<string> {
  const { code, output } = await run('xl', '-vvv', ...args);
  const told = output.split('\n').filter((line) => !line.includes('debug:'));
  assert.equal(code, 0, `xl ${args.join(' ')}: ${told.join('\n')}`);
  assert.deepEqual(
    output.split('\n').filter((line) => WAITED.test(line)),
    [],
    `xl ${args.join(' ')} waited for a timeout`,
  );
  return output;
}
