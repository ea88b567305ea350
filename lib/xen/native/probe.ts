import type { XenLibraries } from '../../addon.js';
import { VifdError } from '../../errors.js';
import { openStore } from '../store/client.js';
import { librariesFrom, loadLibraries, openEventDevice, openGrantDevice } from './libraries.js';

/** One thing that `openXen` needs. */
export interface Finding {
  readonly what: 'addon and libraries' | 'grants' | 'event channels' | 'xenstore';
  readonly ok: boolean;
  /** What was found, or what is missing and what to do. */
  readonly detail: string;
}

/** Looks at everything that `openXen` needs, instead of stopping at the first thing that is missing. */
export async function probeXen(options: { libraries?: string; store?: string } = {}): Promise<Finding[]> {
  const findings: Finding[] = [];
  const directory = librariesFrom(options.libraries);
  let libraries: XenLibraries | undefined;
  await look(findings, 'addon and libraries', () => {
    libraries = loadLibraries(directory);
    const copy = libraries.grantCopy ? 'with grant copy' : 'without grant copy: frames are copied by mapping';
    return `${directory ?? "the system's"}, ${copy}`;
  });
  const found = libraries;
  if (found !== undefined) {
    await look(findings, 'grants', () => {
      openGrantDevice(found);
      return '/dev/xen/gntdev opens';
    });
    await look(findings, 'event channels', () => {
      openEventDevice(found)[Symbol.dispose]();
      return '/dev/xen/evtchn opens';
    });
  }
  await look(findings, 'xenstore', async () => {
    const store = await openStore(options.store === undefined ? {} : { path: options.store });
    await store[Symbol.asyncDispose]();
    return 'answers';
  });
  return findings;
}

async function look(
  findings: Finding[],
  what: Finding['what'],
  attempt: () => string | Promise<string>,
): Promise<void> {
  try {
    findings.push({ what, ok: true, detail: await attempt() });
  } catch (error) {
    if (!(error instanceof VifdError)) throw error;
    findings.push({ what, ok: false, detail: error.message });
  }
}
