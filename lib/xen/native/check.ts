import { VifdError } from '../../errors.js';

/** Domain numbers from here on have special meanings (xen/include/public/xen.h, DOMID_FIRST_RESERVED). */
const DOMID_FIRST_RESERVED = 0x7ff0;

/** @throws VifdError ERR_ARGUMENT. */
export function requireDomid(domid: number): void {
  if (Number.isInteger(domid) && domid >= 0 && domid < DOMID_FIRST_RESERVED) return;
  throw new VifdError(
    'ERR_ARGUMENT',
    `${domid} is not a domain: give a whole number below ${DOMID_FIRST_RESERVED}.`,
  );
}

/** @throws VifdError ERR_ARGUMENT. */
export function requireCount(what: string, count: number, max: number): void {
  if (Number.isInteger(count) && count >= 1 && count <= max) return;
  throw new VifdError('ERR_ARGUMENT', `${count} ${what}: give a whole number from 1 to ${max}.`);
}
