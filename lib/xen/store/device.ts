/**
 * /dev/xen/xenbus: the kernel's own connection to xenstored, for domains whose xenstored runs elsewhere
 * (linux/drivers/xen/xenbus/xenbus_dev_frontend.c).
 *
 * A blocking read would occupy one of libuv's threads for ever. `process.exit` joins those threads, so the process
 * could not end. vifd therefore opens the device with O_NONBLOCK, which the driver honours with EAGAIN, and reads it when `readiness`
 * reports it readable. Node itself cannot poll a character device: without the addon's uv_poll, a timer tries the read again, at once
 * while replies are due and every POLL_MS_MAX otherwise.
 */
import { close, constants, open, readSync, write } from 'node:fs';
import { promisify } from 'node:util';
import type { PolledFd, Readiness } from './readiness.js';
import type { Transport, TransportHandlers } from './transport.js';
import {
  encodeMessage,
  encodeStrings,
  errnoName,
  HEADER_BYTES,
  MessageDecoder,
  MessageType,
} from './wire.js';

/** The system calls that the device needs; a test passes replacements. */
export interface DeviceIo {
  open(path: string): Promise<number>;
  /** @returns the bytes that were there, possibly none. */
  read(fd: number, into: Buffer): number;
  write(fd: number, message: Buffer): Promise<void>;
  close(fd: number): Promise<void>;
}

/** The driver stores header and payload of a message in one buffer of 4096 bytes and refuses more with EINVAL. */
const DEVICE_PAYLOAD_MAX = 4096 - HEADER_BYTES;
const READ_BYTES = 65_536;
const POLL_MS_MAX = 20;
/** How many turns of the event loop poll the device without a pause. A reply takes some tens of microseconds. */
const BUSY_TURNS = 32;

export async function connectDevice(
  path: string,
  readiness: Readiness = polled,
  io: DeviceIo = systemIo,
): Promise<Transport> {
  return new DeviceTransport(path, await io.open(path), readiness, io);
}

/**
 * Uses one descriptor, and a second one for a probe of the watchdog while the first waits for a response. A xenstored that was restarted
 * does not respond to requests that its predecessor had read; only a new request shows that it is there.
 */
class DeviceTransport implements Transport {
  readonly path: string;
  readonly payloadMax = DEVICE_PAYLOAD_MAX;
  readonly #io: DeviceIo;
  readonly #readiness: Readiness;
  readonly #main: Channel;
  #aside: Channel | undefined;
  #handlers: TransportHandlers | undefined;
  #closed = false;

  constructor(path: string, fd: number, readiness: Readiness, io: DeviceIo) {
    this.path = path;
    this.#io = io;
    this.#readiness = readiness;
    this.#main = new Channel(path, fd, io);
  }

  start(handlers: TransportHandlers): void {
    this.#handlers = handlers;
    this.#start(this.#main);
  }

  send(message: Buffer): void {
    if (this.#closed) return;
    if (isProbe(message) && this.#main.waits) void this.#probe(message);
    else this.#main.send(message);
  }

  close(): void {
    this.#closed = true;
    this.#main.close();
    this.#aside?.close();
  }

  async #probe(message: Buffer): Promise<void> {
    try {
      const aside = new Channel(this.path, await this.#io.open(this.path), this.#io);
      if (this.#closed) return aside.close();
      // Closes the descriptor of another probe too, which may have begun while this one was opened.
      this.#aside?.close();
      this.#aside = aside;
      this.#start(aside);
      aside.send(message);
    } catch (error) {
      // Without the descriptor the probe gets no response, and the watchdog ends the connection as after any silence.
      process.emitWarning(`Opening ${this.path} failed: ${String(error)}`);
    }
  }

  #start(channel: Channel): void {
    channel.start(this.#readiness, {
      onData: (chunk) => this.#handlers?.onData(chunk),
      onLost: (cause) => {
        if (this.#closed) return;
        this.close();
        this.#handlers?.onLost(cause);
      },
    });
  }
}

/**
 * A descriptor of the device. It writes a request when the one before has its response, as libxenstore does. The driver (Linux 4.11
 * and later) breaks with more than one: it sends a request from the buffer into which it copies the next (xenbus_dev_request_and_reply), so
 * that xenstored may read a part of another path. The driver also takes a response under the lock that it owns while it registers a watch
 * (xenbus_dev_queue_reply, xenbus_file_write): the two deadlock, and no program of the domain can use xenstore until the domain reboots.
 */
class Channel {
  readonly #path: string;
  readonly #fd: number;
  readonly #io: DeviceIo;
  readonly #buffer = Buffer.allocUnsafe(READ_BYTES);
  /** Finds the responses in the bytes that were read. */
  readonly #decoder = new MessageDecoder();
  readonly #waiting: Buffer[] = [];
  #handlers: TransportHandlers | undefined;
  #polled: PolledFd | undefined;
  #asked = false;
  #written: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(path: string, fd: number, io: DeviceIo) {
    this.#path = path;
    this.#fd = fd;
    this.#io = io;
  }

  /** Whether a request has no response yet. */
  get waits(): boolean {
    return this.#asked;
  }

  start(readiness: Readiness, handlers: TransportHandlers): void {
    this.#handlers = handlers;
    this.#polled = readiness(this.#fd, () => this.#read());
  }

  send(message: Buffer): void {
    this.#waiting.push(message);
    this.#next();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#polled?.[Symbol.dispose]();
    // A write that is under way must end before the descriptor's number can mean another file.
    this.#written = this.#written
      .then(() => this.#io.close(this.#fd))
      .catch((error: unknown) => process.emitWarning(`Closing ${this.#path} failed: ${String(error)}`));
  }

  #next(): void {
    if (this.#asked || this.#closed) return;
    const message = this.#waiting.shift();
    if (message === undefined) return;
    this.#asked = true;
    this.#written = this.#write(message);
  }

  async #write(message: Buffer): Promise<void> {
    try {
      await this.#io.write(this.#fd, message);
      this.#polled?.hurry();
    } catch (error) {
      // The driver refuses some requests (watches above all) by failing the write, and sends no ERROR reply.
      if (!this.#closed) this.#heard(refusal(message, error));
    }
  }

  #read(): void {
    if (this.#closed) return;
    try {
      const length = this.#io.read(this.#fd, this.#buffer);
      if (length === 0) return;
      // Copied, because messages may share memory with their chunk and the buffer is used again.
      this.#heard(Buffer.from(this.#buffer.subarray(0, length)));
      this.#polled?.hurry();
    } catch (error) {
      this.close();
      this.#handlers?.onLost(error as Error);
    }
  }

  #heard(chunk: Buffer): void {
    // If `chunk` breaks the protocol, this call closes the connection, and the rest is not decoded.
    this.#handlers?.onData(chunk);
    if (this.#closed) return;
    if (this.#decoder.push(chunk).some(({ type }) => type !== MessageType.WATCH_EVENT)) this.#asked = false;
    this.#next();
  }
}

function isProbe(message: Buffer): boolean {
  return message.readUInt32LE(0) === MessageType.GET_DOMAIN_PATH;
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

/** Polls by a timer, with growing pauses, until something happens. */
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
