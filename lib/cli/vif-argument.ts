import { VifdError } from '../errors.js';
import type { VifName } from './mark.js';

/** A vif as xl and ip(8) print it. @throws VifdError ERR_ARGUMENT. */
export function parseVif(text: string): VifName {
  const found = /^vif(0|[1-9]\d{0,4})\.(0|[1-9]\d{0,3})$/.exec(text);
  if (found === null)
    throw new VifdError(
      'ERR_ARGUMENT',
      `${JSON.stringify(text)} names no vif: write it as vif1.0, or give --all.`,
    );
  const [domid, handle] = [Number(found[1]), Number(found[2])];
  return { id: `vif${domid}.${handle}`, domid, handle };
}
