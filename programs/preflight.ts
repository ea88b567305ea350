import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';
import { addon } from '../lib/addon.js';
import { BACKEND_PROGRAM, GUEST_PROGRAM, XENSIM_LIBRARIES } from '../worlds/places.js';

const run = promisify(execFile);

/** Tries the requirements inside the namespaces. Each line ends with a code of its own if it fails. */
const PROBE = `
test -c /dev/net/tun || exit 70
(exec 3<>/dev/net/tun) 2>/dev/null || exit 71
ip link add probe type bridge || exit 72
ip tuntap add dev probe0 mode tap vnet_hdr || exit 73
unshare --net true || exit 74
`;

const FAILURES: Record<number, string> = {
  70: 'there is no /dev/net/tun (`modprobe tun`; in a container: `--device /dev/net/tun`)',
  71: 'this user may not open /dev/net/tun (run as root, or `sudo chmod 666 /dev/net/tun`)',
  72: 'the kernel has no bridges (`modprobe bridge`)',
  73: 'taps cannot be made here (run as root)',
  74: 'namespaces cannot be nested here (run as root)',
};

const USER = ['--user', '--map-root-user'];

export type Verdict =
  | { readonly ok: true /** Options of unshare(1). */; readonly unshare: readonly string[] }
  | { readonly ok: false /** What is missing, and the remedy. */; readonly because: string };

/** Determines whether the demo can have network namespaces, taps and the simulated Xen. */
export async function preflight(): Promise<Verdict> {
  const because = (await missingTool()) ?? missingBuild();
  if (because !== undefined) return { ok: false, because };
  let last = '';
  for (const privileges of process.getuid?.() === 0 ? [[], USER] : [USER]) {
    const unshare = ['--net', '--mount', ...privileges];
    const failure = await tryNamespaces(unshare);
    if (failure === undefined) return { ok: true, unshare };
    last = failure;
  }
  return { ok: false, because: last };
}

async function missingTool(): Promise<string | undefined> {
  const tools: [string, string[], string][] = [
    ['ip', ['-V'], 'iproute2'],
    ['unshare', ['--version'], 'util-linux'],
    ['nsenter', ['--version'], 'util-linux'],
    ['setpriv', ['--pdeathsig', 'KILL', 'true'], 'util-linux'],
  ];
  for (const [tool, args, packaged] of tools) {
    try {
      await run(tool, args);
    } catch {
      return `\`${tool}\` is missing (\`sudo apt-get install -y ${packaged}\`)`;
    }
  }
  return undefined;
}

function missingBuild(): string | undefined {
  try {
    addon();
  } catch (error) {
    return error instanceof Error ? error.message.replace(/\.$/, '') : String(error);
  }
  const file = [`${XENSIM_LIBRARIES}/libxengnttab.so.1`, BACKEND_PROGRAM, GUEST_PROGRAM].find(
    (needed) => !existsSync(needed),
  );
  return file === undefined ? undefined : `${file} is not built (\`npm run build\`)`;
}

async function tryNamespaces(unshare: readonly string[]): Promise<string | undefined> {
  try {
    await run('unshare', [...unshare, 'sh', '-c', PROBE]);
    return undefined;
  } catch (error) {
    const known = FAILURES[error instanceof Error && 'code' in error ? Number(error.code) : 0];
    if (known !== undefined) return known;
    const who = unshare.includes('--user') ? 'users' : 'this process';
    const remedy = unshare.includes('--user')
      ? 'run as root, or allow them: `sysctl kernel.unprivileged_userns_clone=1 ' +
        'kernel.apparmor_restrict_unprivileged_userns=0`, whichever is there'
      : 'in a container: `--privileged`';
    return `${who} may not make namespaces here (${remedy})`;
  }
}
