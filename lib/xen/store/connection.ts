import { VifdError } from '../../errors.js';
import type { Transport } from './transport.js';
import type { Guarded } from './watchdog.js';
import {
  decodeStrings,
  encodeMessage,
  encodeStrings,
  type Message,
  MessageDecoder,
  MessageType,
  MISSING_IS_A_RESULT,
  requirePayloadFits,
  storeError,
  typeName,
} from './wire.js';

const EMPTY = Buffer.alloc(0);
export const LOST = new Error('The connection to xenstore is lost.');

/** A request, with the callbacks for its reply. */
export interface Request {
  readonly type: number;
  readonly path: string;
  readonly payload: Buffer;
  readonly transactionId: number;
  /**
   * What happens to the request if the connection is lost before the reply. resend: it is sent again on the next connection, which is safe
   * if it has the same effect twice. fail: it rejects, as every request of a transaction does, because the transaction ends with its
   * connection. done: it resolves, because the end of the connection has its effect.
   */
  readonly onLoss: 'resend' | 'fail' | 'done';
  /** Undefined: there is no such node. */
  resolve(payload: Buffer | undefined): void;
  reject(error: unknown): void;
}

export interface ConnectionHandlers {
  /** Called for all data that arrives, before the messages in it are handled. */
  onHeard(): void;
  onEvent(path: string, token: string): void;
  /** Called once. `pending` are the requests without a reply, oldest first; the caller decides what happens to them. */
  onLost(pending: Request[], cause: unknown): void;
}

interface Sent {
  readonly request: Request;
  /** Its number in the order of sending, from 1. */
  readonly order: number;
}

/** One connection, to its end: matches replies to requests by req_id, and ends at the first breach of the protocol. */
export class Connection implements Guarded {
  readonly #transport: Transport;
  readonly #handlers: ConnectionHandlers;
  readonly #decoder = new MessageDecoder();
  /** By req_id. A Map keeps them in the order of sending. */
  readonly #pending = new Map<number, Sent>();
  #lastId = 0;
  #open = true;
  #sent = 0;
  #responded = 0;
  #heard = 0;

  constructor(transport: Transport, handlers: ConnectionHandlers) {
    this.#transport = transport;
    this.#handlers = handlers;
    transport.start({
      onData: (chunk) => this.#onData(chunk),
      onLost: (cause) => this.lose(cause),
    });
  }

  get open(): boolean {
    return this.#open;
  }

  get path(): string {
    return this.#transport.path;
  }

  get payloadMax(): number {
    return this.#transport.payloadMax;
  }

  get pending(): number {
    return this.#pending.size;
  }

  get sent(): number {
    return this.#sent;
  }

  get oldest(): number | undefined {
    const [sent] = this.#pending.values();
    return sent?.order;
  }

  get responded(): number {
    return this.#responded;
  }

  get heard(): number {
    return this.#heard;
  }

  send(request: Request): void {
    const requestId = this.#nextId();
    this.#sent += 1;
    this.#pending.set(requestId, { request, order: this.#sent });
    const { type, transactionId, payload } = request;
    this.#transport.send(encodeMessage({ type, requestId, transactionId, payload }));
  }

  /** Sends a request that every domain may send and that costs xenstored little. Any response will do. */
  probe(): void {
    const payload = encodeStrings('0');
    const ignored = { resolve() {}, reject() {} };
    this.send({
      type: MessageType.GET_DOMAIN_PATH,
      path: '',
      payload,
      transactionId: 0,
      onLoss: 'done',
      ...ignored,
    });
  }

  /** Resolves the requests whose `onLoss` is `done`, without waiting for their replies. */
  settleDone(): void {
    for (const { request } of this.#pending.values()) {
      if (request.onLoss === 'done') request.resolve(EMPTY);
    }
  }

  /** Ends the connection and passes the requests without a reply to `onLost`. Idempotent. */
  lose(cause: unknown): void {
    if (!this.#open) return;
    this.#open = false;
    this.#transport.close();
    const pending = [...this.#pending.values()].map(({ request }) => request);
    this.#pending.clear();
    this.#handlers.onLost(pending, cause);
  }

  /** Returns a request id: never 0, which watch events have, and never the id of a request that still waits when the counter wraps. */
  #nextId(): number {
    do this.#lastId = (this.#lastId % 0xffff_ffff) + 1;
    while (this.#pending.has(this.#lastId));
    return this.#lastId;
  }

  #onData(chunk: Buffer): void {
    this.#heard += 1;
    this.#handlers.onHeard();
    try {
      for (const message of this.#decoder.push(chunk)) {
        if (this.#open) this.#onMessage(message);
      }
    } catch (error) {
      this.lose(error);
    }
  }

  #onMessage(message: Message): void {
    if (message.type === MessageType.WATCH_EVENT) {
      const [path, token] = decodeStrings(message.payload);
      if (path === undefined || token === undefined) throw breach('a watch event without path and token');
      this.#handlers.onEvent(path, token);
      return;
    }
    const sent = this.#pending.get(message.requestId);
    if (sent === undefined) throw breach(`a reply to request ${message.requestId}, which is not waiting`);
    const { request, order } = sent;
    if (message.type !== request.type && message.type !== MessageType.ERROR) {
      throw breach(`a ${typeName(message.type)} reply to a ${typeName(request.type)} request`);
    }
    this.#pending.delete(message.requestId);
    this.#responded = Math.max(this.#responded, order);
    if (message.type !== MessageType.ERROR) {
      request.resolve(message.payload);
      return;
    }
    const [errno = 'EIO'] = decodeStrings(message.payload);
    if (errno === 'ENOENT' && MISSING_IS_A_RESULT.has(request.type)) request.resolve(undefined);
    else request.reject(storeError(errno, request.type, request.path));
  }
}

/** As `Connection.send`, with a promise of the reply. */
export function send(
  connection: Connection,
  request: Omit<Request, 'resolve' | 'reject'>,
): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    connection.send({ ...request, resolve, reject });
  });
}

/** Sends a request that is valid on this connection only; rejects with EAGAIN if the connection is lost. */
export async function sendOnce(
  connection: Connection,
  type: number,
  path: string,
  payload: Buffer,
  transactionId = 0,
): Promise<Buffer | undefined> {
  if (!connection.open) throw storeError('EAGAIN', type, path, LOST);
  requirePayloadFits(type, path, payload, connection.payloadMax);
  return send(connection, { type, path, payload, transactionId, onLoss: 'fail' });
}

function breach(what: string): VifdError {
  return new VifdError('ERR_STORE', `xenstored broke its protocol: it sent ${what} (EPROTO).`, {
    errno: 'EPROTO',
  });
}
