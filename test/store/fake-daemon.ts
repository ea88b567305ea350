import { errnoForReply, replyTo } from '../../lib/testing/xenstored/requests.js';
import type { StoreSession } from '../../lib/testing/xenstored/session.js';
import { ModelStore } from '../../lib/testing/xenstored/store.js';
import type { Clock } from '../../lib/xen/seam.js';
import type { Transport, TransportHandlers } from '../../lib/xen/store/transport.js';
import {
  encodeMessage,
  encodeStrings,
  type Message,
  MessageDecoder,
  MessageType,
  PAYLOAD_MAX,
} from '../../lib/xen/store/wire.js';

/** Runs all promises, and the callbacks of the next turns of the event loop. */
export async function turns(count = 4): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Time that passes only by `advance`. */
export class TestClock implements Clock {
  #nowMs = 0;
  #timers = new Set<{ dueMs: number; fire: () => void }>();

  now(): number {
    return this.#nowMs;
  }

  get timers(): number {
    return this.#timers.size;
  }

  after(delayMs: number, fire: () => void): Disposable {
    const timer = { dueMs: this.#nowMs + delayMs, fire };
    this.#timers.add(timer);
    return { [Symbol.dispose]: () => void this.#timers.delete(timer) };
  }

  async advance(ms: number): Promise<void> {
    const end = this.#nowMs + ms;
    for (;;) {
      await turns();
      const [next] = [...this.#timers].sort((a, b) => a.dueMs - b.dueMs);
      if (next === undefined || next.dueMs > end) break;
      this.#nowMs = next.dueMs;
      this.#timers.delete(next);
      next.fire();
    }
    this.#nowMs = end;
    await turns();
  }
}

/** A xenstored in this process that can die, hang, drop its clients and come back, at any message. */
export class FakeDaemon {
  store = new ModelStore();
  /** 'away': no process listens. 'hangs': accepts requests and does not reply. 'drops': ends each connection at its first request. */
  mood: 'well' | 'away' | 'hangs' | 'drops' = 'well';
  connects = 0;
  /** The error of an attempt to connect while it is away. */
  refusal = 'ECONNREFUSED';
  /** Serves one request in two turns of the event loop. */
  slow = false;
  /** The domain of clients from now on. */
  domid = 0;
  /** Every request that took effect, in order. */
  readonly done: string[] = [];
  /** Called before each request takes effect, and before its reply is sent. */
  onRequest: (message: Message, when: 'before' | 'after') => void = () => {};
  readonly #links = new Set<Link>();

  readonly connect = async (): Promise<Transport> => {
    this.connects += 1;
    if (this.mood === 'away') throw Object.assign(new Error('connect'), { code: this.refusal });
    const link = new Link(this, () => this.#links.delete(link));
    this.#links.add(link);
    return link;
  };

  /** Ends every connection, without the due replies. */
  die(mood: 'away' | 'drops' | 'well' = 'away'): void {
    this.mood = mood;
    for (const link of [...this.#links]) link.end();
  }

  /** Responds to all requests that came meanwhile. */
  wake(): void {
    this.mood = 'well';
    for (const link of this.#links) link.serve();
  }

  /** Acts as a xenstored that started again behind a kernel's ring: requests that the previous one had read are lost. */
  forgetRead(): void {
    for (const link of this.#links) link.forgetRead();
  }

  /** The types of the requests that it has not looked at. */
  get unread(): number[] {
    return [...this.#links].flatMap((link) => link.unread);
  }

  get watches(): number {
    return this.store.watches.count(0);
  }
}

class Link implements Transport {
  readonly path = '/fake/socket';
  readonly payloadMax = PAYLOAD_MAX;
  readonly #daemon: FakeDaemon;
  readonly #onEnd: () => void;
  readonly #decoder = new MessageDecoder();
  readonly #session: StoreSession;
  #handlers: TransportHandlers | undefined;
  #requests: Message[] = [];
  #open = true;
  #due = false;

  constructor(daemon: FakeDaemon, onEnd: () => void) {
    this.#daemon = daemon;
    this.#onEnd = onEnd;
    this.#session = daemon.store.connect(daemon.domid, {
      onEvent: ({ token }, path) => this.#send(MessageType.WATCH_EVENT, 0, encodeStrings(path, token)),
      onReleased: () => this.end(),
      onLost: () => this.end(),
    });
  }

  start(handlers: TransportHandlers): void {
    this.#handlers = handlers;
  }

  send(message: Buffer): void {
    this.#requests.push(...this.#decoder.push(message));
    this.#serveSoon(1);
  }

  get unread(): number[] {
    return this.#requests.map(({ type }) => type);
  }

  #serveSoon(inTurns: number): void {
    if (this.#due) return;
    this.#due = true;
    const turn = (left: number): void => {
      if (left > 0) setImmediate(() => turn(left - 1));
      else {
        this.#due = false;
        this.serve();
      }
    };
    turn(inTurns);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#session.close();
    this.#onEnd();
  }

  end(): void {
    if (!this.#open) return;
    this.close();
    setImmediate(() => this.#handlers?.onLost(new Error('the daemon closed the connection')));
  }

  forgetRead(): void {
    this.#requests = [];
  }

  serve(): void {
    for (let left = this.#daemon.slow ? 1 : Number.POSITIVE_INFINITY; left > 0; left -= 1) {
      if (!this.#open || this.#requests.length === 0 || this.#daemon.mood === 'hangs') return;
      const request = this.#requests.shift() as Message;
      if (this.#daemon.mood === 'drops' && request.type !== MessageType.GET_DOMAIN_PATH) this.end();
      if (!this.#open) return;
      this.#daemon.onRequest(request, 'before');
      if (!this.#open) return;
      this.#daemon.done.push(
        `${request.type} ${request.payload.toString('latin1').split('\0').join(' ').trim()}`,
      );
      let reply: { type: number; payload: Buffer };
      try {
        reply = { type: request.type, payload: replyTo(this.#session, request) };
      } catch (error) {
        reply = { type: MessageType.ERROR, payload: encodeStrings(errnoForReply(error)) };
      }
      this.#daemon.onRequest(request, 'after');
      this.#send(reply.type, request.requestId, reply.payload, request.transactionId);
    }
    this.#serveSoon(2);
  }

  #send(type: number, requestId: number, payload: Buffer, transactionId = 0): void {
    if (!this.#open) return;
    const bytes = encodeMessage({ type, requestId, transactionId, payload });
    setImmediate(() => {
      if (this.#open) this.#handlers?.onData(bytes);
    });
  }
}
