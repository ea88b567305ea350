import { VifdError } from '../../errors.js';
import type { Clock, Store, StoreWatch } from '../seam.js';
import { connectFirst, storePaths } from './connect.js';
import { Connection, LOST, type Request, send, sendOnce } from './connection.js';
import type { ConnectDescriptor } from './descriptor.js';
import { errnoOr, hindranceOf, isAbsence, START_XENSTORED } from './hindrance.js';
import { PENDING_MAX, StoreOperations } from './operations.js';
import type { Readiness } from './readiness.js';
import { idleClock, Pauses, wallClock } from './retry.js';
import { beginWithinQuota, type OpenTransaction } from './transaction.js';
import { errnoOf, type Transport } from './transport.js';
import { SILENT_MS, Watchdog } from './watchdog.js';
import { type ClientWatch, ClientWatches } from './watches.js';
import {
  decodeStrings,
  encodeStrings,
  isStoreError,
  MessageType,
  PAYLOAD_MAX,
  requireNoNul,
  requirePayloadFits,
  storeError,
} from './wire.js';

export interface StoreClientOptions {
  /** Real time by default. */
  readonly clock?: Clock;
  /** The first and the longest pause between two attempts to reconnect. */
  readonly pauseMs?: number;
  readonly pauseMsMax?: number;
  /** Called when `openStore` waits for a xenstored that does not respond. After it, `onConnection` reports that. */
  readonly onSilent?: (silent: VifdError) => void;
}

export interface OpenStoreOptions extends StoreClientOptions {
  /** A socket or device. Default: the paths that libxenstore tries. */
  readonly path?: string;
  /** Aborts `openStore`. */
  readonly signal?: AbortSignal;
  /** Reports when a descriptor can be read; without it, a timer polls a device. */
  readonly readiness?: Readiness;
  /** Connects to a socket faster than node:net can be loaded; needs `readiness`. */
  readonly connectSocket?: ConnectDescriptor;
}

/** How long xenstored may be silent before the connection counts as lost. Its live update, or a dom0 that is stopped, takes seconds. */
const SILENT_MS_MAX = 30_000;
/** The same for a connection that is still being set up, which has no watches to lose. */
const SILENT_MS_MAX_AT_FIRST = 5000;
const NOTHING = Buffer.alloc(0);

/**
 * Connects to xenstored.
 * @throws VifdError ERR_XEN_UNAVAILABLE, naming the paths that were tried and what to do.
 */
export async function openStore(options: OpenStoreOptions = {}): Promise<StoreClient> {
  let paths = options.path === undefined ? storePaths() : [options.path];
  const { readiness, connectSocket, signal: opening } = options;
  const connect = async (signal: AbortSignal): Promise<Transport> => {
    const transport = await connectFirst(paths, { signal, readiness, connectSocket });
    // Reconnects use only the path that worked. While the xenstored of a dom0 is away, a write to the kernel's device never returns,
    // and a process with a thread in such a write cannot exit.
    paths = [transport.path];
    return transport;
  };
  return StoreClient.open(connect, options, opening);
}

type ConnectionListener = (lost: VifdError | undefined) => void;

interface Waiter {
  resolve(connection: Connection): void;
  reject(error: unknown): void;
}

/**
 * xenstore over a socket or device. The client reconnects after a loss, for ever; meanwhile calls wait. Calls wait too while
 * xenstored is silent; the client reports the silence and keeps the connection. It repeats requests outside transactions whose
 * response was lost, which is safe because each of them has the same effect when it runs twice. Transactions run again from the start; one
 * whose commit was under way may thus be committed twice. After a reconnect the client registers all watches again, and each fires once,
 * because events of the meantime are lost.
 */
export class StoreClient extends StoreOperations implements Store {
  readonly #connect: (signal: AbortSignal) => Promise<Transport>;
  readonly #clock: Clock;
  readonly #watchdogClock: Clock;
  readonly #pauseMsMax: number;
  readonly #pauses: Pauses;
  /** Defined until the first connection is established. */
  #whileOpening: ((silent: VifdError) => void) | undefined;
  readonly #watches = new ClientWatches();
  readonly #closing = new AbortController();
  readonly #listeners = new Set<ConnectionListener>();
  /** Requests that were sent on no connection yet, in order. */
  #waiting: Request[] = [];
  /** Transactions that wait for a connection before they begin. */
  #starting: Waiter[] = [];
  /** Watches that were closed while xenstored was silent: unregistered when it responds. */
  #closedWatches: ClientWatch[] = [];
  #connection: Connection | undefined;
  #connectedAt = 0;
  #guard: Disposable | undefined;
  #payloadMax = PAYLOAD_MAX;
  /** Whether the connection exists and xenstored does not respond. */
  #silent = false;
  /** The last value that the listeners were called with. */
  #lost: VifdError | undefined;
  /** Set once the client is closed; every call rejects with it. */
  #end: VifdError | undefined;

  private constructor(connect: (signal: AbortSignal) => Promise<Transport>, options: StoreClientOptions) {
    super();
    this.#connect = connect;
    this.#clock = options.clock ?? wallClock;
    this.#watchdogClock = options.clock ?? idleClock;
    this.#pauseMsMax = options.pauseMsMax ?? 1000;
    this.#whileOpening = options.onSilent;
    this.#pauses = new Pauses({
      clock: this.#clock,
      firstMs: options.pauseMs ?? 10,
      mostMs: this.#pauseMsMax,
      signal: this.#closing.signal,
    });
  }

  /** @param connect makes a connection; called for the first one and for each reconnect. */
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
      const why = error instanceof VifdError && error.cause !== undefined ? error.cause : error;
      const message = `What was found at the xenstore's path does not reply as a xenstored does (${errnoOf(why)}).`;
      throw new VifdError('ERR_XEN_UNAVAILABLE', message, { cause: error });
    }
    return client;
  }

  async watch(path: string, onChange: (path: string) => void): Promise<StoreWatch> {
    requireNoNul(MessageType.WATCH, path);
    // Added before the response, because the first event arrives together with it.
    const watch = this.#watches.add(path, onChange);
    try {
      await this.talk(MessageType.WATCH, path, encodeStrings(path, watch.token));
      watch.established = true;
    } catch (error) {
      this.#watches.forget(watch);
      throw error;
    }
    let closed: Promise<void> | undefined;
    const close = (): Promise<void> => {
      closed ??= this.#unwatch(watch);
      return closed;
    };
    return { close, [Symbol.asyncDispose]: close };
  }

  onConnection(listener: ConnectionListener): Disposable {
    // Wrapped, so that a function that is registered twice is called twice.
    const entry: ConnectionListener = (lost) => listener(lost);
    this.#listeners.add(entry);
    return { [Symbol.dispose]: () => void this.#listeners.delete(entry) };
  }

  /** Closes the client and rejects all calls that wait for a response, at once. Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#end !== undefined) return;
    const end = new VifdError('ERR_STATE', 'This xenstore connection was closed.');
    this.#end = end;
    this.#closing.abort(end);
    this.#watches.clear();
    this.#connection?.lose(end);
    for (const { reject } of [...this.#waiting.splice(0), ...this.#starting.splice(0)]) reject(end);
    this.transactions.rejectWaiting(end);
  }

  // ---- requests ---------------------------------------------------------------------------------

  protected async talk(type: number, path: string, payload: Buffer): Promise<Buffer | undefined> {
    if (this.#end !== undefined) throw this.#end;
    requirePayloadFits(type, path, payload, this.#payloadMax);
    this.#requireRoom(type, path);
    return new Promise((resolve, reject) => {
      const request: Request = { type, path, payload, transactionId: 0, onLoss: 'resend', resolve, reject };
      if (this.#usable === undefined) this.#waiting.push(request);
      else this.#usable.send(request);
    });
  }

  protected begin(): Promise<OpenTransaction> {
    return beginWithinQuota(() => this.#beginOnce(), this.#clock, this.#closing.signal);
  }

  async #beginOnce(): Promise<OpenTransaction> {
    const connection = await this.#whenUsable();
    const reply = await sendOnce(connection, MessageType.TRANSACTION_START, '', encodeStrings(''));
    const id = Number(decodeStrings(reply ?? NOTHING)[0]);
    return {
      talk: (type, path, payload) => sendOnce(connection, type, path, payload, id),
      end: async (commit) => {
        const payload = encodeStrings(commit ? 'T' : 'F');
        await sendOnce(connection, MessageType.TRANSACTION_END, '', payload, id);
      },
    };
  }

  /** The connection, if xenstored responds on it; requests are sent only then. */
  get #usable(): Connection | undefined {
    return this.#silent ? undefined : this.#connection;
  }

  async #whenUsable(): Promise<Connection> {
    if (this.#end !== undefined) throw this.#end;
    if (this.#usable !== undefined) return this.#usable;
    this.#requireRoom(MessageType.TRANSACTION_START, '');
    return new Promise((resolve, reject) => {
      this.#starting.push({ resolve, reject });
    });
  }

  #requireRoom(type: number, path: string): void {
    const pending = this.#waiting.length + this.#starting.length + (this.#connection?.pending ?? 0);
    if (pending >= PENDING_MAX) throw storeError('EBUSY', type, path);
  }

  /** Unregisters a watch. Without a connection there is nothing to do, since xenstored drops watches together with their connection. */
  async #unwatch(watch: ClientWatch): Promise<void> {
    this.#watches.forget(watch);
    if (this.#connection === undefined) return;
    if (this.#silent) this.#closedWatches.push(watch);
    else await unregister(this.#connection, watch);
  }

  // ---- connections ------------------------------------------------------------------------------

  /** Returns a connection on which xenstored responds and has registered every watch. */
  async #establish(signal: AbortSignal): Promise<Connection> {
    const connection: Connection = new Connection(await this.#connect(signal), {
      onHeard: () => this.#onHeard(connection),
      onEvent: (path, token) => this.#watches.onEvent(path, token),
      onLost: (pending, cause) => this.#onLost(connection, pending, cause),
    });
    const abandon = (): void => connection.lose(signal.reason);
    signal.addEventListener('abort', abandon, { once: true });
    if (signal.aborted) abandon();
    using _watchdog = this.#watchdog(connection, SILENT_MS_MAX_AT_FIRST);
    const { established } = this.#watches;
    try {
      // Every domain may send this request, so a response proves that a xenstored is there, and not one that dies at once.
      const probe = sendOnce(connection, MessageType.GET_DOMAIN_PATH, '', encodeStrings('0'));
      await Promise.all([probe, ...established.map((watch) => register(connection, watch))]);
      if (!connection.open) throw storeError('EIO', MessageType.GET_DOMAIN_PATH, '', LOST);
    } catch (error) {
      connection.lose(error);
      throw signal.aborted ? signal.reason : error;
    } finally {
      signal.removeEventListener('abort', abandon);
    }
    this.#closedWatches = established.filter((watch) => !this.#watches.has(watch));
    return connection;
  }

  #watchdog(connection: Connection, lostMs: number): Disposable {
    const onSilent = (): void => this.#onSilent(connection);
    return new Watchdog(connection, { clock: this.#watchdogClock, lostMs, onSilent });
  }

  #adopt(connection: Connection): void {
    this.#whileOpening = undefined;
    this.#connection = connection;
    this.#connectedAt = this.#clock.now();
    this.#payloadMax = connection.payloadMax;
    this.#guard = this.#watchdog(connection, SILENT_MS_MAX);
    this.#resume(connection);
  }

  #onLost(connection: Connection, pending: readonly Request[], cause: unknown): void {
    const again: Request[] = [];
    for (const request of pending) {
      if (request.onLoss === 'resend') again.push(request);
      else if (request.onLoss === 'done') request.resolve(NOTHING);
      else request.reject(storeError('EAGAIN', request.type, request.path, cause));
    }
    this.#waiting = [...again, ...this.#waiting];
    if (connection !== this.#connection) return;
    this.#connection = undefined;
    this.#silent = false;
    this.#guard?.[Symbol.dispose]();
    if (this.#end !== undefined) return;
    // Without longer pauses, a server that accepts and drops connections would keep vifd and itself busy.
    if (this.#clock.now() - this.#connectedAt >= this.#pauseMsMax) this.#pauses.reset();
    void this.#reconnect();
    const what = `The connection to xenstored at ${connection.path} is lost (${errnoOf(cause)})`;
    this.#tellLost(what, START_XENSTORED, errnoOr(cause, 'ECONNRESET'), cause);
  }

  #onSilent(connection: Connection): void {
    const what = `xenstored at ${connection.path} has not responded for ${SILENT_MS} ms (ETIMEDOUT)`;
    const remedy = 'start xenstored again if it hangs';
    if (connection !== this.#connection) {
      const message = `${what}: ${remedy}; no guest is served until it responds.`;
      this.#whileOpening?.(new VifdError('ERR_STORE_GONE', message, { errno: 'ETIMEDOUT' }));
      return;
    }
    this.#silent = true;
    connection.settleDone();
    this.#tellLost(what, remedy, 'ETIMEDOUT');
  }

  #onHeard(connection: Connection): void {
    if (connection !== this.#connection || !this.#silent) return;
    this.#silent = false;
    this.#resume(connection);
  }

  /** Reconnects. Never rejects; resolves when there is a connection, or when the client is closed. */
  async #reconnect(): Promise<void> {
    while (this.#end === undefined) {
      try {
        await this.#pauses.again();
        this.#adopt(await this.#establish(this.#closing.signal));
        return;
      } catch (error) {
        if (this.#end === undefined) this.#tellHindrance(error);
      }
    }
  }

  /** Reports why the last attempt failed, if the reason has changed. */
  #tellHindrance(error: unknown): void {
    const { what, remedy, errno } = hindranceOf(error);
    // The loss was already reported with an errno that means "no xenstored"; another such errno is no news.
    if (isAbsence(errno) && isAbsence(this.#lost?.errno)) return;
    this.#tellLost(what, remedy, errno, error);
  }

  /** Called when xenstored responds again: sends the requests that waited, in the order of the calls. */
  #resume(connection: Connection): void {
    for (const watch of this.#closedWatches.splice(0)) {
      unregister(connection, watch).catch((error) => connection.lose(error));
    }
    for (const request of this.#waiting.splice(0)) connection.send(request);
    for (const { resolve } of this.#starting.splice(0)) resolve(connection);
    if (this.#lost !== undefined) {
      this.#lost = undefined;
      for (const listener of [...this.#listeners]) listener(undefined);
    }
    this.#watches.release();
  }

  #tellLost(what: string, remedy: string, errno: string, cause?: unknown): void {
    const message = `${what}: ${remedy}; the connection is tried again for ever, and calls wait until then.`;
    if (message === this.#lost?.message) return;
    this.#lost = new VifdError('ERR_STORE_GONE', message, { errno, cause });
    this.#watches.hold();
    for (const listener of [...this.#listeners]) listener(this.#lost);
  }
}

function register(connection: Connection, watch: ClientWatch): Promise<Buffer | undefined> {
  return sendOnce(connection, MessageType.WATCH, watch.path, encodeStrings(watch.path, watch.token));
}

async function unregister(connection: Connection, watch: ClientWatch): Promise<void> {
  const { path } = watch;
  const payload = encodeStrings(path, watch.token);
  try {
    await send(connection, { type: MessageType.UNWATCH, path, payload, transactionId: 0, onLoss: 'done' });
  } catch (error) {
    // ENOENT: the watch ended with an earlier connection.
    if (!isStoreError(error, 'ENOENT')) throw error;
  }
}
