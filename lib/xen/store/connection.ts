import { VifdError } from '../../errors.js';
import type { Transport } from './transport.js';
import {
  decodeStrings,
  encodeMessage,
  type Message,
  MessageDecoder,
  MessageType,
  storeError,
  typeName,
} from './wire.js';

/** A request and whom to tell of its reply. */
export interface Request {
  readonly type: number;
  readonly path: string;
  readonly payload: Buffer;
  readonly transactionId: number;
  /**
   * Whether the request means the same on another connection, even if the first one got it too.
   * Inside a transaction it does not: transactions end with their connection.
   */
  readonly resend: boolean;
  resolve(payload: Buffer): void;
  reject(error: unknown): void;
}

export interface ConnectionHandlers {
  onEvent(path: string, token: string): void;
  /** Once. `unanswered` are the requests without a reply, oldest first; their fate is the caller's to decide. */
  onLost(unanswered: Request[], cause: unknown): void;
}

/** One life of a connection: matches replies to requests by req_id, and ends at the first breach of the protocol. */
export class Connection {
  readonly #transport: Transport;
  readonly #handlers: ConnectionHandlers;
  readonly #decoder = new MessageDecoder();
  /** By req_id. A Map keeps them in the order of sending. */
  readonly #unanswered = new Map<number, Request>();
  #lastId = 0;
  #open = true;

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

  get payloadMax(): number {
    return this.#transport.payloadMax;
  }

  get unanswered(): number {
    return this.#unanswered.size;
  }

  send(request: Request): void {
    const requestId = this.#nextId();
    this.#unanswered.set(requestId, request);
    const { type, transactionId, payload } = request;
    this.#transport.send(encodeMessage({ type, requestId, transactionId, payload }));
  }

  /** Ends the connection and hands back what is unanswered. Idempotent. */
  lose(cause: unknown): void {
    if (!this.#open) return;
    this.#open = false;
    this.#transport.close();
    const unanswered = [...this.#unanswered.values()];
    this.#unanswered.clear();
    this.#handlers.onLost(unanswered, cause);
  }

  /** Never 0, which watch events have, and never one that is still waiting when the counter comes round. */
  #nextId(): number {
    do this.#lastId = (this.#lastId % 0xffff_ffff) + 1;
    while (this.#unanswered.has(this.#lastId));
    return this.#lastId;
  }

  #onData(chunk: Buffer): void {
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
    const request = this.#unanswered.get(message.requestId);
    if (request === undefined) throw breach(`a reply to request ${message.requestId}, which is not waiting`);
    if (message.type === MessageType.ERROR) {
      this.#unanswered.delete(message.requestId);
      request.reject(storeError(decodeStrings(message.payload)[0] ?? 'EIO', request.type, request.path));
      return;
    }
    if (message.type !== request.type) {
      throw breach(`a ${typeName(message.type)} reply to a ${typeName(request.type)} request`);
    }
    this.#unanswered.delete(message.requestId);
    request.resolve(message.payload);
  }
}

function breach(what: string): VifdError {
  return new VifdError('ERR_STORE', `xenstored broke its protocol: it sent ${what} (EPROTO).`, {
    errno: 'EPROTO',
  });
}
