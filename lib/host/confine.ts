import { readFileSync } from 'node:fs';
import { addon, errnoName } from '../addon.js';
import { VifdError } from '../errors.js';

/** linux/capability.h. Taps and their interfaces. */
const CAP_NET_ADMIN = 12;
/** The program that bounds what waits in a tap (ports/tap-limit.ts). */
const CAP_BPF = 39;

/** What a worker may keep of its supervisor's capabilities. */
const WORKER_CAPABILITIES = [CAP_NET_ADMIN, CAP_BPF];

/**
 * Calls a function that starts a worker's process at once (`spawn`): the process has the capabilities of a worker from its beginning. A process that
 * has begun could not give up any: its threads have them, each for itself.
 */
export function startAsWorker<T>(start: () => T): T {
  return addon().startConfined(
    start,
    WORKER_CAPABILITIES.reduce((sum, one) => sum + 2 ** one, 0),
  );
}

/**
 * Confines this worker for good: it can start no process and call nothing that a worker does not need (native/confine.cc), and other processes of
 * its user cannot look into it. Call it before a guest is served.
 * @param status the kernel's file about this process.
 * @throws VifdError ERR_STATE: with the errno if the kernel refuses that, or if this process has capabilities that a worker must not have.
 */
export function confineWorker(status = '/proc/self/status'): void {
  const more = capabilitiesIn(readFileSync(status, 'latin1')).filter(
    (one) => !WORKER_CAPABILITIES.includes(one),
  );
  const error = addon().confine();
  if (error < 0) {
    const errno = errnoName(error);
    const remedy =
      errno === 'EPERM'
        ? 'allow seccomp(2) in the unit (SystemCallFilter=), as systemd/vifd.service does'
        : 'take a kernel with CONFIG_SECCOMP_FILTER';
    const message = `The worker ${process.pid} can call whatever its service may, since it gets no filter of system calls (${errno}): ${remedy}.`;
    throw new VifdError('ERR_STATE', message, { errno });
  }
  if (more.length === 0) return;
  const message = `The worker ${process.pid} has the capabilities ${more.join(', ')} (capabilities(7)), which it should have lost at its start: report that.`;
  throw new VifdError('ERR_STATE', message);
}

/** Returns the numbers of the capabilities that a process may use (CapPrm of proc(5)). */
function capabilitiesIn(status: string): number[] {
  const [, digits = '0'] = /^CapPrm:\s*([0-9a-f]+)$/m.exec(status) ?? [];
  const bits = BigInt(`0x${digits}`);
  return Array.from({ length: 64 }, (_, one) => one).filter((one) => ((bits >> BigInt(one)) & 1n) === 1n);
}
