/** Device states, xen/io/xenbus.h. */
export const XenbusState = {
  Unknown: 0,
  Initialising: 1,
  InitWait: 2,
  Initialised: 3,
  Connected: 4,
  Closing: 5,
  Closed: 6,
  Reconfiguring: 7,
  Reconfigured: 8,
} as const;
export type XenbusState = (typeof XenbusState)[keyof typeof XenbusState];

/** @returns the state that a store node's text stands for; Unknown when it stands for none. */
export function parseXenbusState(text: string | undefined): XenbusState {
  const value = Number(text);
  return text !== undefined && /^[0-8]$/.test(text) ? (value as XenbusState) : XenbusState.Unknown;
}

export function backendVifRoot(backendDomid: number): string {
  return `/local/domain/${backendDomid}/backend/vif`;
}

export function backendVifPath(backendDomid: number, domid: number, handle: number): string {
  return `${backendVifRoot(backendDomid)}/${domid}/${handle}`;
}

export function frontendVifPath(domid: number, handle: number): string {
  return `/local/domain/${domid}/device/vif/${handle}`;
}
