import type { Socket } from 'node:net';
import { EventQueue } from '../../xen/store/events.js';
import {
  encodeMessage,
  encodeStrings,
  type Message,
  MessageDecoder,
  MessageType,
  PAYLOAD_MAX,
} from '../../xen/store/wire.js';
import { errnoForReply, replyTo } from './requests.js';
import type { StoreSession } from './session.js';
import type { ModelStore } from './store.js';
import type { ModelWatch } from './watches.js';

/** The most output that waits for a client that does not read. Above it no more requests are read from that client. */
const OUTPUT_BYTES_MAX = 1 << 20;

/** One client of the server. Errors of its connection concern no other client. */
export class Peer {
  readonly #socket: Socket;
  readonly #session: StoreSession;
  readonly #decoder = new MessageDecoder();
  /** Events that wait while the client is slow; their number is bounded (XSA-349). */
  readonly #events = new EventQueue<ModelWatch>((watch, path) => this.#sendEvent(watch, path));
  /** Messages that were read and wait, because the client does not read its responses. */
  #unserved: Message[] = [];
  #serving = false;

  constructor(store: ModelStore, domid: number, socket: Socket, onClose: () => void) {
    this.#socket = socket;
    this.#session = store.connect(domid, {
      onEvent: (watch, path) => this.#onEvent(watch, path),
      onReleased: () => socket.destroy(),
      onLost: () => socket.destroy(),
    });
    socket.on('data', (chunk) => this.#onData(chunk));
    socket.on('drain', () => this.#serve());
    // The error concerns only the client. 'close' follows.
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      this.#session.close();
      onClose();
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #onData(chunk: Buffer): void {
    try {
      this.#unserved.push(...this.#decoder.push(chunk));
    } catch {
      // The message is too long: xenstored ends such a connection (xs_wire.h) without a reply.
      this.#socket.destroy();
      return;
    }
    this.#serve();
  }

  /** Responds until no message is left or the client reads no more. */
  #serve(): void {
    this.#serving = true;
    this.#socket.cork();
    let served = 0;
    for (; served < this.#unserved.length && !this.#full; served += 1) {
      this.#replyTo(this.#unserved[served]!);
      this.#flushEvents();
    }
    this.#unserved = this.#unserved.slice(served);
    this.#flushEvents();
    this.#socket.uncork();
    this.#serving = false;
    if (this.#unserved.length > 0) this.#socket.pause();
    else this.#socket.resume();
  }

  get #full(): boolean {
    return this.#socket.destroyed || this.#socket.writableLength > OUTPUT_BYTES_MAX;
  }

  #replyTo(request: Message): void {
    const { requestId, transactionId } = request;
    try {
      const payload = replyTo(this.#session, request);
      this.#send({ type: request.type, requestId, transactionId, payload });
    } catch (error) {
      const payload = encodeStrings(errnoForReply(error));
      this.#send({ type: MessageType.ERROR, requestId, transactionId, payload });
    }
  }

  #onEvent(watch: ModelWatch, path: string): void {
    this.#events.push(watch, path);
    // Events that a request of this client causes follow its response.
    if (!this.#serving) this.#flushEvents();
  }

  #flushEvents(): void {
    while (this.#events.size > 0 && !this.#full) this.#events.deliverOne();
  }

  #sendEvent(watch: ModelWatch, path: string): void {
    let payload = encodeStrings(path, watch.token);
    // A path and a token that fit together in WATCH do so here too; with a longer path they may not.
    if (payload.length > PAYLOAD_MAX) payload = encodeStrings(watch.path, watch.token);
    this.#send({ type: MessageType.WATCH_EVENT, requestId: 0, transactionId: 0, payload });
  }

  #send(message: Message): void {
    if (this.#socket.writable) this.#socket.write(encodeMessage(message));
  }
}
