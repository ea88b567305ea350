import { constants } from 'node:os';
import { hostFault } from '../../errors.js';

/** A call of the hypervisor that may fail because the host has no memory, descriptors or room. */
export type HostCall = 'copy' | 'map' | 'unmap' | 'arena' | 'bind';

/** Returns the errno with which a call of domain `domid` fails, by name (`ENOMEM`); undefined if it succeeds. */
export type HostFails = (call: HostCall, domid: number) => string | undefined;

/** Rare faults that Xen may cause at any time. A fault that is left out does not occur. */
export interface ModelFaults {
  /** Every n-th operation of grant batches fails with GNTST_eagain. */
  readonly grantFailsEvery?: number;
  /** A spurious event follows every n-th event. At least 2. */
  readonly strayEventEvery?: number;
  /** Watches fire only when nothing else waits. */
  readonly watchesLate?: boolean;
  /** Called at each such call. */
  readonly host?: HostFails;
}

/** The host's faults for one process. */
export class HostOf {
  readonly #fails: HostFails | undefined;
  readonly #domid: number;

  constructor(fails: HostFails | undefined, domid: number) {
    this.#fails = fails;
    this.#domid = domid;
  }

  /** @returns 0 if the call succeeds, else its errno. */
  errno(call: HostCall): number {
    const name = this.#fails?.(call, this.#domid);
    return name === undefined ? 0 : constants.errno[name as keyof typeof constants.errno];
  }

  /** @throws VifdError ERR_HOST. */
  check(call: HostCall, what: string): void {
    const name = this.#fails?.(call, this.#domid);
    if (name !== undefined) throw hostFault(what, name);
  }
}

/** Returns a function that returns true at every n-th call, or never if `n` is undefined. */
export function everyNth(n: number | undefined): () => boolean {
  let calls = 0;
  return () => {
    calls += 1;
    return n !== undefined && calls % n === 0;
  };
}
