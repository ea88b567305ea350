import type { VifName } from '../daemon/mark.js';
import { VifdError } from '../errors.js';

/** A vif as xl and ip(8) print it. @param or what may be given besides. @throws VifdError ERR_ARGUMENT. */
export function parseVif(text: string, or = ''): VifName {
  const found = /^vif(0|[1-9]\d{0,4})\.(0|[1-9]\d{0,3})$/.exec(text);
  if (found === null)
    throw new VifdError('ERR_ARGUMENT', `${JSON.stringify(text)} names no vif: write it as vif1.0${or}.`);
  const [domid, handle] = [Number(found[1]), Number(found[2])];
  return { id: `vif${domid}.${handle}`, domid, handle };
}
