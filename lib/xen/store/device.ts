/**
 * /dev/xen/xenbus: the kernel's own connection to xenstored, for domains whose xenstored runs elsewhere
 * (linux/drivers/xen/xenbus/xenbus_dev_frontend.c).
 *
 * A blocking read would hold one of libuv's threads for good, and `process.exit` joins those threads: the process
 * could not end. So the device is opened O_NONBLOCK, which the driver honours with EAGAIN, and read when `readiness`
 * says so. Node itself can poll no character device; until the addon lends its uv_poll, a timer asks again: at once
 * while replies are due, and every POLL_MS_MAX in quiet times.
 */
import { close, constants, open, readSync, write } from 'node:fs';
import { promisify } from 'node:util';
import type { Transport, TransportHandlers } from './transport.js';
import { encodeMessage, encodeStrings, errnoName, HEADER_BYTES, MessageType } from './wire.js';

/** Calls `onReadable` whenever `fd` may be readable, spuriously if need be, until disposed. */
export type Readiness = (fd: number, onReadable: () => void) => PolledFd;

export interface PolledFd extends Disposable {
  /** Something was sent: an answer is due. */
  hurry(): void;
}

/** The calls that the device needs; a test hands in others. */
export interface DeviceIo {
  open(path: string): Promise<number>;
  /** @returns the bytes that were there, possibly none. */
  read(fd: number, into: Buffer): number;
  write(fd: number, message: Buffer): Promise<void>;
  close(fd: number): Promise<void>;
}

/** The driver keeps header and payload of a message in one buffer of 4096 bytes and refuses more with EINVAL. */
const DEVICE_PAYLOAD_MAX = 4096 - HEADER_BYTES;
const READ_BYTES = 65_536;
const POLL_MS_MAX = 20;
/** A reply takes some tens of microseconds: this many turns of the event loop are well spent on waiting for it. */
const BUSY_TURNS = 32;

export async function connectDevice(
  path: string,
  readiness: Readiness = polled,
  io: DeviceIo = systemIo,
): Promise<Transport> {
  return new DeviceTransport(path, await io.open(path), readiness, io);
}

class DeviceTransport implements Transport {
  readonly path: string;
  readonly payloadMax = DEVICE_PAYLOAD_MAX;
  readonly #fd: number;
  readonly #io: DeviceIo;
  readonly #readiness: Readiness;
  readonly #buffer = Buffer.allocUnsafe(READ_BYTES);
  #handlers: TransportHandlers | undefined;
  #polled: PolledFd | undefined;
  /** The writes so far: the device takes one message a write, in order. */
  #written: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(path: string, fd: number, readiness: Readiness, io: DeviceIo) {
    this.path = path;
    this.#fd = fd;
    this.#readiness = readiness;
    this.#io = io;
  }

  start(handlers: TransportHandlers): void {
    this.#handlers = handlers;
    this.#polled = this.#readiness(this.#fd, () => this.#read());
  }

  send(message: Buffer): void {
    this.#written = this.#written.then(() => this.#write(message));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#polled?.[Symbol.dispose]();
    // A write that is under way must end before its number can mean another file.
    this.#written = this.#written
      .then(() => this.#io.close(this.#fd))
      .catch((error: unknown) => process.emitWarning(`Closing ${this.path} failed: ${String(error)}`));
  }

  async #write(message: Buffer): Promise<void> {
    if (this.#closed) return;
    try {
      await this.#io.write(this.#fd, message);
      this.#polled?.hurry();
    } catch (error) {
      // The driver refuses some requests, watches above all, by failing the write instead of with an ERROR reply.
      if (!this.#closed) this.#handlers?.onData(refusal(message, error));
    }
  }

  #read(): void {
    if (this.#closed) return;
    try {
      const length = this.#io.read(this.#fd, this.#buffer);
      // Messages may share memory with their chunk, and the buffer is used again.
      if (length > 0) this.#handlers?.onData(Buffer.from(this.#buffer.subarray(0, length)));
      if (length > 0) this.#polled?.hurry();
    } catch (error) {
      this.close();
      this.#handlers?.onLost(error as Error);
    }
  }
}

function refusal(message: Buffer, error: unknown): Buffer {
  const errno = error instanceof Error && 'errno' in error ? -Number(error.errno) : 0;
  return encodeMessage({
    type: MessageType.ERROR,
    requestId: message.readUInt32LE(4),
    transactionId: message.readUInt32LE(8),
    payload: encodeStrings(errnoName(errno)),
  });
}

const systemIo: DeviceIo = {
  open: (path) => promisify(open)(path, constants.O_RDWR | constants.O_NONBLOCK),
  read: (fd, into) => {
    try {
      return readSync(fd, into);
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'EAGAIN') return 0;
      throw error;
    }
  },
  write: async (fd, message) => {
    await promisify(write)(fd, message);
  },
  close: (fd) => promisify(close)(fd),
};

/** Asks again and again, less and less often, until something happens. */
const polled: Readiness = (_fd, onReadable) => {
  let quietTurns = 0;
  let immediate: NodeJS.Immediate | undefined;
  let timer: NodeJS.Timeout | undefined;
  let disposed = false;
  const cancel = (): void => {
    clearImmediate(immediate);
    clearTimeout(timer);
  };
  const turn = (): void => {
    quietTurns += 1;
    onReadable();
    cancel();
    if (disposed) return;
    if (quietTurns < BUSY_TURNS) immediate = setImmediate(turn);
    else timer = setTimeout(turn, Math.min(POLL_MS_MAX, quietTurns - BUSY_TURNS + 1));
  };
  const hurry = (): void => {
    quietTurns = 0;
    cancel();
    if (!disposed) immediate = setImmediate(turn);
  };
  hurry();
  return {
    hurry,
    [Symbol.dispose]: () => {
      disposed = true;
      cancel();
    },
  };
};
