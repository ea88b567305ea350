/** Makes build/lab/vifd.tgz, which a dom0 installs as a user's does. */
import { spawnSync } from 'node:child_process';
import { renameSync } from 'node:fs';

/** Packs the checkout, which is the working directory; the file's name has no version. Ends the program if npm fails. */
export function pack() {
  const args = ['pack', '--silent', '--ignore-scripts', '--pack-destination', 'build/lab'];
  const { status, stdout } = spawnSync('npm', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 2] });
  if (status !== 0) process.exit(status ?? 1);
  renameSync(`build/lab/${stdout.trim()}`, 'build/lab/vifd.tgz');
}
