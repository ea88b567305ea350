import {
  addon,
  errnoName,
  type MissingLibrary,
  type NativeGrants,
  type NativeShares,
  type XenLibraries,
} from '../../addon.js';
import { VifdError } from '../../errors.js';
import { XenEvents } from './events.js';
import type { LateEnds } from './late-ends.js';

/** Debian packages that have the libraries. */
const PACKAGE_OF: Record<string, string> = {
  'libxengnttab.so.1': 'libxengnttab1',
  'libxenevtchn.so.1': 'libxenevtchn1',
};

const MODULE_OF = { gntdev: 'xen-gntdev', evtchn: 'xen-evtchn' } as const;

/** Returns the directory of the Xen libraries; undefined for the system's own. */
export function librariesFrom(option: string | undefined): string | undefined {
  return option ?? (process.env.VIFD_XEN_LIBRARIES || undefined);
}

export interface Problem {
  readonly found: string;
  /** What the operator can do. */
  readonly remedy: string;
}

/** @throws VifdError ERR_ADDON_MISSING. */
export function tryLibraries(directory: string | undefined): XenLibraries | MissingLibrary {
  return addon().loadXen(directory);
}

export function libraryProblem({ library, reason }: MissingLibrary, directory: string | undefined): Problem {
  const remedy =
    directory === undefined
      ? `install it with \`apt-get install -y ${PACKAGE_OF[library]}\`, or name another directory`
      : 'name a directory that has it (`npm run build:native` puts the simulated one into build/Release/xensim)';
  return { found: `${library} cannot be used (${reason})`, remedy };
}

/** @throws VifdError ERR_ADDON_MISSING or ERR_XEN_UNAVAILABLE. */
export function loadLibraries(directory: string | undefined): XenLibraries {
  const libraries = tryLibraries(directory);
  if (!('library' in libraries)) return libraries;
  const { found, remedy } = libraryProblem(libraries, directory);
  throw new VifdError('ERR_XEN_UNAVAILABLE', `${found}: ${remedy}.`);
}

export function openGrantDevice(libraries: XenLibraries): NativeGrants {
  return opened(libraries, 'gntdev', libraries.openGrants());
}

export function openEventDevice(libraries: XenLibraries, late: LateEnds): XenEvents {
  return opened(libraries, 'evtchn', XenEvents.open(libraries, late));
}

export function openShareDevice(libraries: XenLibraries): NativeShares | undefined {
  return libraries.openShares === undefined ? undefined : opened(libraries, 'gntdev', libraries.openShares());
}

/** @throws VifdError ERR_XEN_UNAVAILABLE, with what to do, for -errno. */
function opened<T extends object>(
  libraries: XenLibraries,
  device: keyof typeof MODULE_OF,
  result: T | number,
): T {
  if (typeof result !== 'number') return result;
  const errno = errnoName(result);
  const message =
    libraries.openShares === undefined
      ? `/dev/xen/${device} cannot be opened (${errno}): ${deviceRemedy(device, errno)}.`
      : `The simulated Xen of directory ${process.env.XENSIM ?? '(XENSIM is not set)'} cannot be entered as domain ` +
        `${process.env.XENSIM_DOMID ?? '0'} (${errno}): name a writable directory in XENSIM.`;
  throw new VifdError('ERR_XEN_UNAVAILABLE', message, { errno });
}

function deviceRemedy(device: keyof typeof MODULE_OF, errno: string): string {
  if (errno === 'EACCES' || errno === 'EPERM') return 'run as root';
  const found = errno === 'ENOENT' || errno === 'ENXIO' || errno === 'ENODEV';
  return found ? `on a Xen host, \`modprobe ${MODULE_OF[device]}\` makes it` : 'see `dmesg`';
}
