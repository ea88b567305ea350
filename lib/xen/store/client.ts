import { VifdError } from '../../errors.js';
import type { Clock, Store, StoreWatch } from '../types.js';
import { Connection, type Request } from './connection.js';
import type { ConnectDescriptor } from './descriptor.js';
import type { Readiness } from './device.js';
import { EventQueue } from './events.js';
import { StoreOperations } from './operations.js';
import { pause, type RetryOptions, retry, wallClock } from './retry.js';
import type { OpenTransaction } from './transaction.js';
import { connectFirst, errnoOf, storePaths, type Transport } from './transport.js';
import {
  decodeStrings,
  encodeStrings,
  isStoreError,
  MessageType,
  requireNoNul,
  requirePayloadFits,
  storeError,
} from './wire.js';

export interface StoreClientOptions {
  /** Real time by default. */
  readonly clock?: Clock;
  /** First and longest pause between two attempts to connect again. */
  readonly pauseMs?: number;
  readonly pauseMsMax?: number;
  /** How long to go on trying after a connection was lost. xenstored's live update takes well below a second. */
  readonly giveUpMs?: number;
  /** Called once when the store is given up for good: who only watches learns it nowhere else. */
  readonly onGone?: (error: VifdError) => void;
}

export interface OpenStoreOptions extends StoreClientOptions {
  /** A socket or device. Without it: where libxenstore looks. */
  readonly path?: string;
  /** Abandons the opening. */
  readonly signal?: AbortSignal;
  /** Tells when a descriptor can be read; without it a device is polled. */
  readonly readiness?: Readiness;
  /** Connects to a socket faster than node:net can be loaded; needs `readiness`. */
  readonly connectSocket?: ConnectDescriptor;
}

interface ClientWatch {
  readonly path: string;
  readonly token: string;
  readonly onChange: (path: string) => void;
  /** The store has it: a new connection must be told of it again. */
  established: boolean;
}

/** Requests that wait for an answer, each at most 4 KiB. Nobody reads that far ahead on purpose. */
const PENDING_MAX = 16_384;

/**
 * Connects to xenstored.
 * @throws VifdError ERR_XEN_UNAVAILABLE, naming the paths that were tried and what to do.
 */
export async function openStore(options: OpenStoreOptions = {}): Promise<StoreClient> {
  const paths = options.path === undefined ? storePaths() : [options.path];
  const { readiness, connectSocket, signal: opening } = options;
  const connect = (signal: AbortSignal): Promise<Transport> =>
    connectFirst(paths, { signal, readiness, connectSocket });
  return StoreClient.open(connect, options, opening);
}

/**
 * xenstore over a socket or device. A lost connection is made again, with pauses, for `giveUpMs`; meanwhile calls
 * wait. Requests outside transactions are sent again if their answer was lost: each of them means the same when it
 * is done twice. Transactions run again from the start; one whose commit was under way may thus be committed twice.
 * Watches are registered again, and fire once then, since what happened meanwhile is unknown.
 */
export class StoreClient extends StoreOperations implements Store {
  readonly #connect: (signal: AbortSignal) => Promise<Transport>;
  readonly #retry: RetryOptions;
  readonly #onGone: ((error: VifdError) => void) | undefined;
  readonly #watches = new Map<string, ClientWatch>();
  readonly #events = new EventQueue<ClientWatch>((watch, path) => watch.onChange(path));
  readonly #closing = new AbortController();
  readonly #listeners = new Set<(lost: VifdError | undefined) => void>();
  /** Requests that no connection has; in order. */
  #waiting: Request[] = [];
  #connection: Connection | undefined;
  #reconnecting: Promise<void> | undefined;
  /** Set once the client is closed or has given up; every call rejects with it. */
  #end: VifdError | undefined;
  #lastToken = 0;
  #connectedAt = 0;

  private constructor(connect: (signal: AbortSignal) => Promise<Transport>, options: StoreClientOptions) {
    super();
    this.#connect = connect;
    this.#onGone = options.onGone;
    this.#retry = {
      clock: options.clock ?? wallClock,
      pauseMs: options.pauseMs ?? 10,
      pauseMsMax: options.pauseMsMax ?? 1000,
      giveUpMs: options.giveUpMs ?? 30_000,
      signal: this.#closing.signal,
    };
  }

  /** @param connect makes a connection, each time one is needed. */
  static async open(
    connect: (signal: AbortSignal) => Promise<Transport>,
    options: StoreClientOptions = {},
    signal: AbortSignal = new AbortController().signal,
  ): Promise<StoreClient> {
    const client = new StoreClient(connect, options);
    try {
      client.#adopt(await client.#establish(signal));
    } catch (error) {
      if (signal.aborted || (error instanceof VifdError && error.code === 'ERR_XEN_UNAVAILABLE')) throw error;
      const message = `What was found at the xenstore's path does not answer as a xenstored does (${errnoOf(error)}).`;
      throw new VifdError('ERR_XEN_UNAVAILABLE', message, { cause: error });
    }
    return client;
  }

  async watch(path: string, onChange: (path: string) => void): Promise<StoreWatch> {
    requireNoNul(MessageType.WATCH, path);
    this.#lastToken += 1;
    const watch: ClientWatch = { path, token: `vifd-${this.#lastToken}`, onChange, established: false };
    // Known before the answer, so that the event that comes with it finds its watch.
    this.#watches.set(watch.token, watch);
    try {
      await this.talk(MessageType.WATCH, path, encodeStrings(path, watch.token));
      watch.established = true;
    } catch (error) {
      this.#forget(watch);
      throw error;
    }
    let closed: Promise<void> | undefined;
    const close = (): Promise<void> => {
      closed ??= this.#unwatch(watch);
      return closed;
    };
    return { close, [Symbol.asyncDispose]: close };
  }

  /** Rejects what is unanswered. Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#finish(new VifdError('ERR_STATE', 'This xenstore connection was closed.'));
    // It ends at once, by the abort.
    await this.#reconnecting;
  }

  onConnection(listener: (lost: VifdError | undefined) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  // ---- requests ---------------------------------------------------------------------------------

  protected async talk(type: number, path: string, payload: Buffer): Promise<Buffer> {
    if (this.#end !== undefined) throw this.#end;
    requirePayloadFits(type, path, payload, this.#connection?.payloadMax);
    if (this.#waiting.length + (this.#connection?.unanswered ?? 0) >= PENDING_MAX) {
      throw storeError('EBUSY', type, path);
    }
    return new Promise((resolve, reject) => {
      const request = { type, path, payload, transactionId: 0, resend: true, resolve, reject };
      if (this.#connection === undefined) this.#waiting.push(request);
      else this.#connection.send(request);
    });
  }

  protected async begin(): Promise<OpenTransaction> {
    while (this.#connection === undefined) {
      if (this.#end !== undefined) throw this.#end;
      await this.#reconnecting;
    }
    const connection = this.#connection;
    const answer = await sendOnce(connection, MessageType.TRANSACTION_START, '', encodeStrings(''));
    const id = Number(decodeStrings(answer)[0]);
    return {
      talk: (type, path, payload) => sendOnce(connection, type, path, payload, id),
      end: async (commit) => {
        const payload = encodeStrings(commit ? 'T' : 'F');
        await sendOnce(connection, MessageType.TRANSACTION_END, '', payload, id);
      },
    };
  }

  // ---- watches ----------------------------------------------------------------------------------

  #onEvent(path: string, token: string): void {
    const watch = this.#watches.get(token);
    // Events that were under way when their watch was closed.
    if (watch === undefined) return;
    // Not from within the reading of the socket: what one event loop turn brings can so be merged.
    if (this.#events.push(watch, path)) setImmediate(() => this.#events.deliverOne());
  }

  #forget(watch: ClientWatch): void {
    this.#watches.delete(watch.token);
    this.#events.forget(watch);
  }

  async #unwatch(watch: ClientWatch): Promise<void> {
    this.#forget(watch);
    if (this.#end !== undefined) return;
    try {
      await this.talk(MessageType.UNWATCH, watch.path, encodeStrings(watch.path, watch.token));
    } catch (error) {
      // A watch ends with its connection too: ENOENT after a reconnect, our own end otherwise.
      if (!isStoreError(error, 'ENOENT') && error !== this.#end) throw error;
    }
  }

  // ---- connections ------------------------------------------------------------------------------

  /** A connection that answers and has every watch. */
  async #establish(signal: AbortSignal): Promise<Connection> {
    const connection: Connection = new Connection(await this.#connect(signal), {
      onEvent: (path, token) => this.#onEvent(path, token),
      onLost: (unanswered, cause) => this.#onLost(connection, unanswered, cause),
    });
    const abandon = (): void => connection.lose(signal.reason);
    signal.addEventListener('abort', abandon, { once: true });
    if (signal.aborted) abandon();
    try {
      // Everybody may ask this, so an answer tells only that a xenstored is there: not so for one that dies at once.
      const probe = sendOnce(connection, MessageType.GET_DOMAIN_PATH, '', encodeStrings('0'));
      const watches = [...this.#watches.values()].filter((watch) => watch.established);
      await Promise.all([probe, ...watches.map((watch) => register(connection, watch))]);
      if (!connection.open) throw storeError('EIO', MessageType.GET_DOMAIN_PATH, '');
    } catch (error) {
      connection.lose(error);
      throw signal.aborted ? signal.reason : error;
    } finally {
      signal.removeEventListener('abort', abandon);
    }
    return connection;
  }

  #adopt(connection: Connection): void {
    this.#connection = connection;
    this.#connectedAt = this.#retry.clock.now();
  }

  #onLost(connection: Connection, unanswered: readonly Request[], cause: unknown): void {
    const again = unanswered.filter((request) => request.resend);
    this.#waiting = [...again, ...this.#waiting];
    for (const request of unanswered) {
      if (!request.resend) request.reject(storeError('EAGAIN', request.type, request.path, cause));
    }
    if (connection !== this.#connection) return;
    this.#connection = undefined;
    if (this.#end !== undefined) return;
    const message = `The connection to xenstore was lost (${errnoOf(cause)}): start xenstored; it is tried again until then.`;
    const lost = new VifdError('ERR_STORE_GONE', message, { cause });
    for (const listener of [...this.#listeners]) listener(lost);
    this.#reconnecting = this.#reconnect();
  }

  /** Never rejects: what goes wrong goes to the requests that wait. */
  async #reconnect(): Promise<void> {
    try {
      const lostAt = this.#retry.clock.now();
      // A server that accepts us only to drop us must not keep us, and itself, busy.
      const soon = lostAt - this.#connectedAt < this.#retry.pauseMsMax;
      if (soon) await pause(this.#retry.pauseMsMax, this.#retry);
      const connection = await retry(() => this.#establish(this.#closing.signal), lostAt, this.#retry);
      this.#adopt(connection);
      for (const listener of [...this.#listeners]) listener(undefined);
      const waiting = this.#waiting;
      this.#waiting = [];
      for (const request of waiting) connection.send(request);
    } catch (error) {
      if (this.#end !== undefined) return;
      const seconds = this.#retry.giveUpMs / 1000;
      const message = `The connection to xenstore was lost and could not be made again within ${seconds} s (${errnoOf(error)}).`;
      const gone = new VifdError('ERR_STORE_GONE', message, { cause: error });
      this.#finish(gone);
      this.#onGone?.(gone);
    }
  }

  #finish(end: VifdError): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    this.#closing.abort(end);
    for (const watch of [...this.#watches.values()]) this.#forget(watch);
    this.#connection?.lose(end);
    for (const request of this.#waiting) request.reject(end);
    this.#waiting = [];
  }
}

function register(connection: Connection, watch: ClientWatch): Promise<Buffer> {
  return sendOnce(connection, MessageType.WATCH, watch.path, encodeStrings(watch.path, watch.token));
}

/** Sends a request that makes sense on this one connection; rejects with EAGAIN when that is lost. */
async function sendOnce(
  connection: Connection,
  type: number,
  path: string,
  payload: Buffer,
  transactionId = 0,
): Promise<Buffer> {
  if (!connection.open) throw storeError('EAGAIN', type, path);
  requirePayloadFits(type, path, payload, connection.payloadMax);
  return new Promise((resolve, reject) => {
    connection.send({ type, path, payload, transactionId, resend: false, resolve, reject });
  });
}
