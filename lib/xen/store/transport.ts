import { statSync } from 'node:fs';
import type { Socket } from 'node:net';
import { VifdError } from '../../errors.js';
import { type ConnectDescriptor, connectDescriptor } from './descriptor.js';
import { connectDevice, type Readiness } from './device.js';
import { PAYLOAD_MAX } from './wire.js';

export interface TransportHandlers {
  onData(chunk: Buffer): void;
  /** Once, when the other side is gone; not after `close`. */
  onLost(cause: Error): void;
}

/** A stream of bytes to and from a xenstored. */
export interface Transport {
  readonly path: string;
  /** The largest payload that fits. */
  readonly payloadMax: number;
  /** Bytes that arrive before this wait for it. */
  start(handlers: TransportHandlers): void;
  /** One whole message. Never throws: a loss is reported through `onLost`. */
  send(message: Buffer): void;
  /** Idempotent. No handler is called afterwards. */
  close(): void;
}

export interface ConnectOptions {
  readonly signal?: AbortSignal | undefined;
  /** Tells when a device can be read; without it the device is polled (see device.ts). */
  readonly readiness?: Readiness | undefined;
  /** Connects to sockets, given `readiness` too; without it node:net does. */
  readonly connectSocket?: ConnectDescriptor | undefined;
}

/**
 * Where xenstored is looked for, as libxenstore does (tools/libs/store/xs.c, xs_daemon_socket and xs_domain_dev):
 * XENSTORED_PATH alone if it is set, else the daemon's socket, else the kernel's device.
 */
export function storePaths(env: NodeJS.ProcessEnv = process.env): string[] {
  if (env.XENSTORED_PATH) return [env.XENSTORED_PATH];
  const directory = env.XENSTORED_RUNDIR || '/var/run/xenstored';
  return [`${directory}/socket`, '/dev/xen/xenbus', '/proc/xen/xenbus'];
}

/**
 * Connects to the first path that lets us. Behind a socket that refuses, xenstored has run in this domain: the kernel's device is
 * not tried then, since a write to it would wait for that xenstored in a thread that nothing can end.
 * @throws VifdError ERR_XEN_UNAVAILABLE, naming every path that was tried and what came of it.
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
  // At once: the promises of node:fs cost 2 ms to load.
  const found = statSync(path);
  const { readiness, connectSocket: connect } = options;
  if (!found.isSocket()) return connectDevice(path, readiness);
  if (readiness !== undefined && connect !== undefined) return connectDescriptor(path, connect, readiness);
  return connectSocket(path, options.signal);
}

function connectSocket(path: string, signal: AbortSignal | undefined): Promise<Transport> {
  return new Promise((resolve, reject) => {
    // Loaded where it is needed: it costs a start 4 ms.
    const socket = process.getBuiltinModule('node:net').createConnection({ path });
    const abandon = (): void => {
      socket.destroy();
      reject(signal?.reason);
    };
    const fail = (error: Error): void => {
      signal?.removeEventListener('abort', abandon);
      reject(error);
    };
    socket.once('error', fail);
    signal?.addEventListener('abort', abandon, { once: true });
    socket.once('connect', () => {
      socket.off('error', fail);
      signal?.removeEventListener('abort', abandon);
      resolve(new SocketTransport(path, socket));
    });
  });
}

class SocketTransport implements Transport {
  readonly path: string;
  readonly payloadMax = PAYLOAD_MAX;
  readonly #socket: Socket;
  #lost: Error | undefined;

  constructor(path: string, socket: Socket) {
    this.path = path;
    this.#socket = socket;
    // The reason comes with 'error', the end with 'close', which follows it.
    socket.on('error', (error) => {
      this.#lost = error;
    });
  }

  start(handlers: TransportHandlers): void {
    const lost = (): void => {
      handlers.onLost(this.#lost ?? new Error('xenstored closed the connection'));
    };
    if (this.#socket.destroyed) process.nextTick(lost);
    else this.#socket.on('data', (chunk) => handlers.onData(chunk)).on('close', lost);
  }

  send(message: Buffer): void {
    // Writing to a socket that is gone would report the same loss a second time.
    if (this.#socket.writable) this.#socket.write(message);
  }

  close(): void {
    this.#socket.removeAllListeners('data').removeAllListeners('close').destroy();
  }
}

/** For messages: the symbolic errno of a system error, or its text. */
export function errnoOf(error: unknown): string {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code;
  return error instanceof Error ? error.message : String(error);
}
