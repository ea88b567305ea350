/**
 * A stream socket to xenstored by its descriptor. node:net could do the same, but loading it and its first use cost a start as much time
 * as all other work with the store.
 */
import { closeSync, readSync, writeSync } from 'node:fs';
import type { PolledFd, Readiness } from './readiness.js';
import { errnoOf, type Transport, type TransportHandlers } from './transport.js';
import { PAYLOAD_MAX } from './wire.js';

/** @returns the descriptor of a connected socket that does not block. @throws a system error, with its `code`. */
export type ConnectDescriptor = (path: string) => number;

const READ_BYTES = 65_536;
/** The pause before the next write when the socket buffer is full, with hundreds of messages that xenstored has not read. */
const FULL_PAUSE_MS = 1;

export function connectDescriptor(path: string, connect: ConnectDescriptor, readiness: Readiness): Transport {
  return new DescriptorTransport(path, connect(path), readiness);
}

class DescriptorTransport implements Transport {
  readonly path: string;
  readonly payloadMax = PAYLOAD_MAX;
  readonly #fd: number;
  readonly #readiness: Readiness;
  readonly #buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  #handlers: TransportHandlers | undefined;
  #polled: PolledFd | undefined;
  /** Messages of this turn, which are written together, and bytes that did not fit into the socket buffer. */
  #waiting: Buffer[] = [];
  #flush: 'not due' | 'due' | NodeJS.Timeout = 'not due';
  #closed = false;

  constructor(path: string, fd: number, readiness: Readiness) {
    this.path = path;
    this.#fd = fd;
    this.#readiness = readiness;
  }

  start(handlers: TransportHandlers): void {
    this.#handlers = handlers;
    this.#polled = this.#readiness(this.#fd, () => this.#read());
  }

  send(message: Buffer): void {
    this.#waiting.push(message);
    if (this.#flush !== 'not due') return;
    this.#flush = 'due';
    process.nextTick(() => this.#write());
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (typeof this.#flush === 'object') clearTimeout(this.#flush);
    this.#polled?.[Symbol.dispose]();
    closeSync(this.#fd);
  }

  #write(): void {
    this.#flush = 'not due';
    if (this.#closed) return;
    const bytes = this.#waiting.length === 1 ? this.#waiting[0] : Buffer.concat(this.#waiting);
    const written = this.#attempt(() => writeSync(this.#fd, bytes)) ?? 0;
    this.#waiting = written < bytes.length ? [bytes.subarray(written)] : [];
    if (this.#waiting.length > 0 && !this.#closed)
      this.#flush = setTimeout(() => this.#write(), FULL_PAUSE_MS);
  }

  #read(): void {
    if (this.#closed) return;
    const length = this.#attempt(() => readSync(this.#fd, this.#buffer));
    // Copied, because messages may share memory with their chunk and the buffer is used again.
    if (length) this.#handlers?.onData(Buffer.from(this.#buffer.subarray(0, length)));
    else if (length === 0) this.#lose(new Error('xenstored closed the connection'));
  }

  /** @returns undefined if the call would block, or if the socket is lost. */
  #attempt(call: () => number): number | undefined {
    try {
      return call();
    } catch (error) {
      if (errnoOf(error) !== 'EAGAIN') this.#lose(error as Error);
      return undefined;
    }
  }

  #lose(cause: Error): void {
    this.close();
    this.#handlers?.onLost(cause);
  }
}
