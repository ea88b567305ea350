import { spawnSync } from 'node:child_process';
import { GUARD } from '../demo/children.js';

/** Set for the process that runs in the namespaces. */
const INSIDE = 'VIFD_BENCH_INSIDE';

export function isInside(): boolean {
  return process.env[INSIDE] === '1';
}

/**
 * Runs this program again in network and mount namespaces of its own, as root or as a user who becomes root in them: bridges and
 * taps vanish with it. @returns its exit code.
 */
export function inOwnNamespaces(): number {
  const privileges = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'];
  const args = ['--net', '--mount', ...privileges, ...GUARD, process.execPath, ...process.argv.slice(1)];
  const env = { ...process.env, [INSIDE]: '1', PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` };
  const { status, error } = spawnSync('unshare', args, { stdio: 'inherit', env });
  if (error !== undefined) throw error;
  return status ?? 1;
}
