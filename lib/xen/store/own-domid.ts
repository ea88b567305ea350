import { VifdError } from '../../errors.js';
import type { StoreView } from '../seam.js';

/** Domains have numbers below it: DOMID_FIRST_RESERVED (xen.h). */
const DOMIDS = 0x7ff0;

/**
 * Returns the number of the domain that this process runs in, from the relative path `domid` (docs/misc/xenstore-paths.pandoc). On
 * xenstored's socket, which is dom0's, that path is invalid (EINVAL from the C xenstored) or missing (oxenstored): then it is 0.
 * @throws VifdError ERR_STORE for a value that is no domain's number, and what reading throws.
 */
export async function ownDomid(store: Pick<StoreView, 'read'>): Promise<number> {
  const text = (await readOwn(store)) ?? '0';
  const domid = /^\d{1,5}$/.test(text) ? Number(text) : DOMIDS;
  if (domid < DOMIDS) return domid;
  const message =
    `xenstore has ${JSON.stringify(text.slice(0, 64))} as the number of this domain (\`xenstore-read domid\`). ` +
    'Write it there, or name the xenstored of this domain in XENSTORED_PATH.';
  throw new VifdError('ERR_STORE', message);
}

async function readOwn(store: Pick<StoreView, 'read'>): Promise<string | undefined> {
  try {
    return await store.read('domid');
  } catch (error) {
    if (error instanceof VifdError && error.errno === 'EINVAL') return undefined;
    throw error;
  }
}
