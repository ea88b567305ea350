import { closeSync } from 'node:fs';
import { addon, errnoName } from '../addon.js';
import { Backoff } from '../backoff.js';
import { hostRemedy, VifdError, vifdErrorOf } from '../errors.js';
import { systemClock } from '../xen/native/clock.js';
import { DESCRIPTORS_MAX, type FromWorker, MESSAGE_BYTES_MAX, type ToWorker } from './messages.js';

/** What may wait for a process that does not read: more than a worker with WORKER_VIFS_MAX vifs sends in one turn. */
const WAITING_MAX = 8192;
const WAITING_BYTES_MAX = 2 << 20;
/** Messages that one turn of the event loop reads; the others wait for the next turn, behind the guests' frames. */
const BATCH = 16;
/** Messages that are received of a process that has died: more than a socket holds. */
const REST_MAX = 1024;
/** Pauses between attempts to send to a process that does not read. */
const FIRST_PAUSE_MS = 1;
const MOST_PAUSE_MS = 16;

/** Errnos of a full socket, or of a host that has too little memory now, or too many descriptors under way. */
const LATER: ReadonlySet<string> = new Set(['EAGAIN', 'ENOBUFS', 'ENOMEM', 'ETOOMANYREFS']);

export interface LinkParts {
  /** Called with each message. The descriptors are the callee's, unless it throws: then the link closes them, and ends with that error. */
  readonly onMessage: (message: unknown, descriptors: readonly number[]) => void;
  /** Called once. @param error undefined if the other process closed its end, or ended. Not called after disposal. */
  readonly onEnd: (error: VifdError | undefined) => void;
}

interface Waiting {
  readonly bytes: Uint8Array;
  /** Duplicates, which are the link's. */
  readonly descriptors: readonly number[];
}

/** Room for one message of any link: a message is parsed before the next one is received. */
let room: Uint8Array | undefined;

/**
 * One end of the connection between a supervisor and a worker (docs/processes.md). Sends and receives messages in order, and never waits.
 * The user of a link checks the messages that arrive (`fromWorker`, `toWorker`).
 */
export class Link implements Disposable {
  readonly #fd: number;
  readonly #parts: LinkParts;
  readonly #unwatch: () => void;
  readonly #waiting: Waiting[] = [];
  readonly #retry = new Backoff(systemClock, () => this.#sendWaiting(), FIRST_PAUSE_MS, MOST_PAUSE_MS);
  #waitingBytes = 0;
  /** Whether the other end is closed. What it sent before is still to be received. */
  #closedThere = false;
  #ended = false;

  /**
   * @param descriptor of a connected socket of the type SOCK_SEQPACKET; the link owns it from then on.
   * @throws VifdError ERR_WORKER, with the errno, if the descriptor cannot be watched; then it is closed.
   */
  constructor(descriptor: number, parts: LinkParts) {
    this.#fd = descriptor;
    this.#parts = parts;
    const unwatch = addon().watch(descriptor, () => this.#receive());
    if (typeof unwatch === 'number') {
      closeSync(descriptor);
      throw failed('cannot be watched', unwatch);
    }
    this.#unwatch = unwatch;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /**
   * Sends a message, and duplicates of descriptors with it. After the link's end it does nothing. If too much waits for the other process
   * already, the link ends.
   * @throws VifdError ERR_WORKER if the message has more than MESSAGE_BYTES_MAX bytes, or more than DESCRIPTORS_MAX descriptors.
   */
  send(message: ToWorker | FromWorker, descriptors: readonly number[] = []): void {
    const bytes = Buffer.from(JSON.stringify(message));
    if (bytes.length > MESSAGE_BYTES_MAX || descriptors.length > DESCRIPTORS_MAX) {
      const what = `A message of ${bytes.length} bytes and ${descriptors.length} descriptors`;
      const most = `${MESSAGE_BYTES_MAX} and ${DESCRIPTORS_MAX}`;
      throw new VifdError(
        'ERR_WORKER',
        `${what} cannot be sent between processes of vifd: the most are ${most}.`,
      );
    }
    if (this.#ended || this.#closedThere) return;
    // Behind those that wait, so that messages stay in order.
    if (this.#waiting.length > 0 || !this.#sent(bytes, descriptors)) this.#sendLater(bytes, descriptors);
  }

  /** Receives what the other process has sent by now, which may end the link. Call it before disposal if that process has died. */
  receiveRest(): void {
    this.#receive(REST_MAX);
  }

  /** Closes this end. What the other process has not received by then, it still receives; what waits here is lost. */
  [Symbol.dispose](): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#dropWaiting();
    this.#unwatch();
    closeSync(this.#fd);
  }

  /** @returns whether there is nothing left to do: the message was sent, or can never be. */
  #sent(bytes: Uint8Array, descriptors: readonly number[]): boolean {
    const sent = addon().sendMessage(this.#fd, bytes, descriptors);
    if (sent >= 0) return true;
    const errno = errnoName(sent);
    if (LATER.has(errno)) return false;
    if (errno === 'EPIPE' || errno === 'ECONNRESET') this.#closedThere = true;
    else this.#end(failed('cannot be written', sent));
    return true;
  }

  #sendLater(bytes: Uint8Array, descriptors: readonly number[]): void {
    if (this.#waiting.length >= WAITING_MAX || this.#waitingBytes + bytes.length > WAITING_BYTES_MAX) {
      const message = `The other process of vifd does not read: ${this.#waiting.length} messages wait for it.`;
      this.#end(new VifdError('ERR_WORKER', message));
      return;
    }
    const duplicates: number[] = [];
    for (const descriptor of descriptors) {
      const duplicate = addon().duplicateDescriptor(descriptor);
      if (duplicate < 0) {
        closeAll(duplicates);
        this.#end(failed('cannot pass a descriptor', duplicate));
        return;
      }
      duplicates.push(duplicate);
    }
    this.#waiting.push({ bytes, descriptors: duplicates });
    this.#waitingBytes += bytes.length;
    this.#retry.again();
  }

  #sendWaiting(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      const { bytes, descriptors } = next;
      if (!this.#sent(bytes, descriptors)) {
        this.#retry.again();
        return;
      }
      // The link may have ended, and then it has dropped all that waits.
      if (this.#waiting[0] !== next) return;
      this.#waiting.shift();
      this.#waitingBytes -= bytes.length;
      closeAll(descriptors);
      this.#retry.reset();
    }
  }

  #receive(most = BATCH): void {
    room ??= new Uint8Array(MESSAGE_BYTES_MAX);
    for (let i = 0; i < most && !this.#ended; i++) {
      const message = addon().receiveMessage(this.#fd, room, DESCRIPTORS_MAX);
      if (typeof message === 'number') {
        const errno = errnoName(message);
        if (errno === 'EAGAIN') return;
        // The other end was closed before it had read all. The error comes once, and before what it had sent.
        if (errno === 'ECONNRESET') continue;
        this.#end(refused(errno, message));
      } else if (message.bytes === 0) {
        closeAll(message.descriptors);
        this.#end(undefined);
      } else this.#take(Buffer.from(room.buffer, 0, message.bytes).toString(), message.descriptors);
    }
  }

  #take(text: string, descriptors: readonly number[]): void {
    try {
      this.#parts.onMessage(parsed(text), descriptors);
    } catch (error) {
      closeAll(descriptors);
      this.#end(vifdErrorOf(error));
    }
  }

  #end(error: VifdError | undefined): void {
    if (this.#ended) return;
    this[Symbol.dispose]();
    this.#parts.onEnd(error);
  }

  #dropWaiting(): void {
    this.#retry.cancel();
    for (const { descriptors } of this.#waiting.splice(0)) closeAll(descriptors);
    this.#waitingBytes = 0;
  }
}

function closeAll(descriptors: readonly number[]): void {
  for (const descriptor of descriptors) closeSync(descriptor);
}

/** @throws VifdError ERR_WORKER. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new VifdError('ERR_WORKER', 'The other process of vifd sent a message that is not JSON.', {
      cause,
    });
  }
}

function refused(errno: string, error: number): VifdError {
  if (errno === 'EMSGSIZE') {
    const message = `The other process of vifd sent a message of more than ${MESSAGE_BYTES_MAX} bytes.`;
    return new VifdError('ERR_WORKER', message, { errno });
  }
  if (errno === 'E2BIG') {
    const message =
      `The other process of vifd sent more than ${DESCRIPTORS_MAX} descriptors with a message, or more than this process may open: ` +
      `${hostRemedy('EMFILE')}.`;
    return new VifdError('ERR_WORKER', message, { errno });
  }
  return failed('cannot be read', error);
}

function failed(what: string, error: number): VifdError {
  const errno = errnoName(error);
  const message = `The link between two processes of vifd ${what} (${errno}): ${hostRemedy(errno)}.`;
  return new VifdError('ERR_WORKER', message, { errno });
}
