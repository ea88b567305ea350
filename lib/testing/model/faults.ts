import { constants } from 'node:os';
import { hostFault } from '../../errors.js';

/** A call of the hypervisor that the host of a process may fail: it has no memory, no descriptors, no room. */
export type HostCall = 'copy' | 'map' | 'unmap' | 'arena' | 'bind';

/** The errno that a call of domain `domid` fails with, by name (`ENOMEM`); undefined: it works. */
export type HostFails = (call: HostCall, domid: number) => string | undefined;

/** What may go wrong under Xen at any time and seldom does. Each is off unless given. */
export interface ModelFaults {
  /** Every n-th operation of grant batches fails with GNTST_eagain. */
  readonly grantFailsEvery?: number;
  /** Every n-th event is followed by one that nobody sent. At least 2. */
  readonly strayEventEvery?: number;
  /** Watches fire only when nothing else waits. */
  readonly watchesLate?: boolean;
  /** Asked at each such call. */
  readonly host?: HostFails;
}

/** The host's faults as one process has them. */
export class HostOf {
  readonly #fails: HostFails | undefined;
  readonly #domid: number;

  constructor(fails: HostFails | undefined, domid: number) {
    this.#fails = fails;
    this.#domid = domid;
  }

  /** @returns 0 when the call works, else its errno. */
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

/** True at every n-th call; never without n. */
export function everyNth(n: number | undefined): () => boolean {
  let calls = 0;
  return () => {
    calls += 1;
    return n !== undefined && calls % n === 0;
  };
}
