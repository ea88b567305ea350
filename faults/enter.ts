import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { GUARD } from '../demo/children.js';

/** Set in the process that runs inside of the namespaces. */
const INSIDE = 'VIFD_FAULTS_INSIDE';
const PROGRAM = fileURLToPath(new URL('main.js', import.meta.url));
const NAMESPACES = ['--net', '--mount'];
/** /sys shows the interfaces of the namespace that it was mounted in; shared memory of our own vanishes with us. */
const MOUNTS =
  'mount -t sysfs sysfs /sys && { test ! -d /dev/shm || mount -t tmpfs tmpfs /dev/shm; } && ip link set lo up && exec "$@"';

export function isInside(): boolean {
  return process.env[INSIDE] === '1';
}

/** @returns what the table needs and this machine has not, in a sentence; undefined when it has everything. */
export function whatIsMissing(): string | undefined {
  if (process.getuid?.() !== 0) return 'it needs root, since it limits, stops and mounts: run it as root';
  if (!existsSync('/dev/net/tun'))
    return 'there is no /dev/net/tun: `modprobe tun`, or in a container `--device /dev/net/tun`';
  for (const [tool, packaged] of [
    ['ip', 'iproute2'],
    ['unshare', 'util-linux'],
    ['setpriv', 'util-linux'],
    ['prlimit', 'util-linux'],
    ['ping', 'iputils-ping'],
  ]) {
    if (spawnSync('sh', ['-c', `command -v ${tool}`]).status !== 0)
      return `\`${tool}\` is missing: \`apt-get install -y ${packaged}\``;
  }
  const probe = `${MOUNTS.replace('exec "$@"', 'true')} && ip link add probe type bridge && ip tuntap add dev probe0 mode tap && unshare --net true`;
  const tried = spawnSync('unshare', [...NAMESPACES, 'sh', '-c', probe], { encoding: 'utf8' });
  if (tried.status === 0) return undefined;
  return `namespaces, mounts, bridges or taps cannot be made here (${tried.stderr.trim().split('\n')[0] ?? ''}): run it on a host, or in a container with \`--privileged\``;
}

/** Runs this program again in namespaces of its own: bridges, taps and mounts vanish with it. @returns its exit code. */
export function enterNamespaces(args: readonly string[]): Promise<number> {
  const command = [...NAMESPACES, 'sh', '-c', MOUNTS, 'sh', ...GUARD, process.execPath, PROGRAM, ...args];
  const child = spawn('unshare', command, { stdio: 'inherit', env: { ...process.env, [INSIDE]: '1' } });
  const forward = () => child.kill('SIGTERM');
  process.on('SIGINT', forward).on('SIGTERM', forward);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => resolve(code ?? 1));
  });
}
