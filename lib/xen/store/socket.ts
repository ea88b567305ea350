import type { Socket } from 'node:net';
import type { Transport, TransportHandlers } from './transport.js';
import { PAYLOAD_MAX } from './wire.js';

export function connectSocket(path: string, signal: AbortSignal | undefined): Promise<Transport> {
  return new Promise((resolve, reject) => {
    // Loaded only here, because loading it costs a start 4 ms.
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
    // 'error' has the reason; 'close', which follows it, reports the end.
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
    // A write to a closed socket would report the same loss a second time.
    if (this.#socket.writable) this.#socket.write(message);
  }

  close(): void {
    this.#socket.removeAllListeners('data').removeAllListeners('close').destroy();
  }
}
