import { statSync } from 'node:fs';
import { VifdError } from '../../errors.js';
import { type ConnectDescriptor, connectDescriptor } from './descriptor.js';
import { connectDevice } from './device.js';
import type { Readiness } from './readiness.js';
import { connectSocket } from './socket.js';
import { errnoOf, type Transport } from './transport.js';

export interface ConnectOptions {
  readonly signal?: AbortSignal | undefined;
  /** Reports when a device can be read; without it, a timer polls the device (see device.ts). */
  readonly readiness?: Readiness | undefined;
  /** Connects to sockets, given `readiness` too; without it node:net does. */
  readonly connectSocket?: ConnectDescriptor | undefined;
}

/**
 * Returns the paths of xenstored to try, in order, as libxenstore does (tools/libs/store/xs.c, xs_daemon_socket and xs_domain_dev):
 * XENSTORED_PATH alone if it is set, else the daemon's socket and then the kernel's device.
 */
export function storePaths(env: NodeJS.ProcessEnv = process.env): string[] {
  if (env.XENSTORED_PATH) return [env.XENSTORED_PATH];
  const directory = env.XENSTORED_RUNDIR || '/var/run/xenstored';
  return [`${directory}/socket`, '/dev/xen/xenbus', '/proc/xen/xenbus'];
}

/**
 * Connects to the first path that accepts. If a socket exists and refuses, xenstored has run in this domain. The kernel's device is
 * not tried then, because a write to it would wait for that xenstored in a thread that nothing can end.
 * @throws VifdError ERR_XEN_UNAVAILABLE. The message has every path that was tried and the errno of each.
 */
export async function connectFirst(
  paths: readonly string[],
  options: ConnectOptions = {},
): Promise<Transport> {
  const failures: string[] = [];
  const causes: unknown[] = [];
  for (const path of paths) {
    options.signal?.throwIfAborted();
    try {
      return await connectTo(path, options);
    } catch (error) {
      options.signal?.throwIfAborted();
      failures.push(`${path} (${errnoOf(error)})`);
      causes.push(error);
      if (errnoOf(error) === 'ECONNREFUSED') break;
    }
  }
  const message =
    `No xenstore could be reached: tried ${failures.join(', ')}. ` +
    'Start xenstored, run as root, or name its socket in XENSTORED_PATH.';
  throw new VifdError('ERR_XEN_UNAVAILABLE', message, { cause: new AggregateError(causes) });
}

async function connectTo(path: string, options: ConnectOptions): Promise<Transport> {
  // Synchronous, because loading the promises of node:fs costs 2 ms.
  const found = statSync(path);
  const { readiness, connectSocket: connect } = options;
  if (!found.isSocket()) return connectDevice(path, readiness);
  if (readiness !== undefined && connect !== undefined) return connectDescriptor(path, connect, readiness);
  return connectSocket(path, options.signal);
}
