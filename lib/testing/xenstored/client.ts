import { VifdError } from '../../errors.js';
import type { Store, StoreWatch } from '../../xen/seam.js';
import { EventQueue } from '../../xen/store/events.js';
import { StoreOperations } from '../../xen/store/operations.js';
import type { OpenTransaction } from '../../xen/store/transaction.js';
import type { Talk } from '../../xen/store/view.js';
import {
  decodeStrings,
  encodeStrings,
  isStoreError,
  MessageType,
  requireNoNul,
  requirePayloadFits,
  storeError,
} from '../../xen/store/wire.js';
import { replyOrMissing } from './requests.js';
import type { StoreSession } from './session.js';
import type { ModelStore } from './store.js';

export interface ModelStoreClient extends Store {
  /**
   * Ends the client as SIGKILL does: the store forgets the connection at once, no call gets a response any more and no watch fires.
   * Requests that were sent before have taken effect, and no others.
   */
  kill(): void;
}

interface InProcessWatch {
  readonly path: string;
  readonly onChange: (path: string) => void;
  /** Events that came before `watch` resolved, because the caller can handle them only then. */
  early: string[] | undefined;
  /** Whether an earlier session had it, so that the next one must register it too. */
  registered: boolean;
}

/**
 * Returns a domain's client of the model's store, without sockets: requests take effect, and responses and events arrive, in
 * later microtasks, always in the same order. It uses no timers.
 */
export function modelStoreClient(store: ModelStore, domid: number): ModelStoreClient {
  return new InProcessClient(store, domid);
}

class InProcessClient extends StoreOperations implements ModelStoreClient {
  readonly #store: ModelStore;
  readonly #domid: number;
  readonly #watches = new Map<string, InProcessWatch>();
  readonly #events = new EventQueue<InProcessWatch>((watch, path) => watch.onChange(path));
  readonly #listeners = new Set<(lost: VifdError | undefined) => void>();
  /** Undefined while the store is stopped. */
  #session: StoreSession | undefined;
  /** Calls that wait for the store, oldest first. */
  #waiting: (() => void)[] = [];
  #stopWaiting = (): void => {};
  #end: VifdError | undefined;
  #killed = false;
  #lastToken = 0;

  constructor(store: ModelStore, domid: number) {
    super();
    this.#store = store;
    this.#domid = domid;
    if (store.running) this.#session = this.#connect();
    else this.#waitForStart();
  }

  async watch(path: string, onChange: (path: string) => void): Promise<StoreWatch> {
    requireNoNul(MessageType.WATCH, path);
    this.#lastToken += 1;
    const token = String(this.#lastToken);
    const watch: InProcessWatch = { path, onChange, early: [], registered: false };
    this.#watches.set(token, watch);
    try {
      await this.#talk(MessageType.WATCH, path, encodeStrings(path, token), () => {
        watch.registered = true;
      });
    } catch (error) {
      // The store stopped just after it had registered the watch, and has it again: no other client has this token.
      if (!isStoreError(error, 'EEXIST')) {
        this.#forget(token, watch);
        throw error;
      }
    }
    const early = watch.early ?? [];
    watch.early = undefined;
    for (const changed of early) this.#queue(watch, changed);
    let closed: Promise<void> | undefined;
    const close = (): Promise<void> => {
      closed ??= this.#unwatch(token, watch);
      return closed;
    };
    return { close, [Symbol.asyncDispose]: close };
  }

  onConnection(listener: (lost: VifdError | undefined) => void): Disposable {
    const entry = (lost: VifdError | undefined): void => listener(lost);
    this.#listeners.add(entry);
    return { [Symbol.dispose]: () => void this.#listeners.delete(entry) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#finish(new VifdError('ERR_STATE', 'This xenstore connection was closed.'));
  }

  kill(): void {
    this.#killed = true;
    this.#finish(new VifdError('ERR_STATE', 'This xenstore connection was killed.'));
  }

  protected talk(...message: Parameters<Talk>): ReturnType<Talk> {
    return this.#talk(...message);
  }

  /** @param onReply called at once, with the session that responds. */
  async #talk(
    type: number,
    path: string,
    payload: Buffer,
    onReply?: (session: StoreSession) => void,
  ): Promise<Buffer | undefined> {
    requirePayloadFits(type, path, payload);
    this.#requireOpen();
    // The store acts in a later turn, as it does across a socket.
    await undefined;
    for (;;) {
      if (this.#killed) return new Promise<never>(() => {});
      this.#requireOpen();
      const session = this.#session;
      if (session === undefined) {
        await this.#started();
        continue;
      }
      const reply = replyOrMissing(session, { type, transactionId: 0, payload });
      onReply?.(session);
      await undefined;
      if (this.#killed) return new Promise<never>(() => {});
      // If the store stopped in between, the response was lost, and the call is made again.
      if (session === this.#session || this.#end !== undefined) return reply;
    }
  }

  protected async begin(): Promise<OpenTransaction> {
    let session: StoreSession | undefined;
    const reply = await this.#talk(MessageType.TRANSACTION_START, '', encodeStrings(''), (replying) => {
      session = replying;
    });
    const id = Number(decodeStrings(reply ?? Buffer.alloc(0))[0]);
    const talk: Talk = async (type, path, payload) => {
      requirePayloadFits(type, path, payload);
      this.#requireOpen();
      await undefined;
      if (this.#killed) return new Promise<never>(() => {});
      this.#requireOpen();
      // The transaction ended with its connection.
      if (session === undefined || session !== this.#session) throw storeError('EAGAIN', type, path);
      const reply = replyOrMissing(session, { type, transactionId: id, payload });
      await undefined;
      return this.#killed ? new Promise<never>(() => {}) : reply;
    };
    return {
      talk,
      end: async (commit) =>
        void (await talk(MessageType.TRANSACTION_END, '', encodeStrings(commit ? 'T' : 'F'))),
    };
  }

  // ---- the connection ---------------------------------------------------------------------------

  #connect(): StoreSession {
    return this.#store.connect(this.#domid, {
      onEvent: ({ token }, path) => this.#onEvent(token, path),
      onReleased: () =>
        this.#finish(new VifdError('ERR_STORE_GONE', `Domain ${this.#domid} has gone from the model.`)),
      onLost: () => this.#onLost(),
    });
  }

  #waitForStart(): void {
    this.#stopWaiting = this.#store.onceStarted(() => this.#onStarted());
  }

  #onLost(): void {
    if (this.#end !== undefined) return;
    this.#session = undefined;
    this.#waitForStart();
    const message = "The model's xenstored is stopped (ECONNRESET): start it; calls wait until then.";
    const lost = new VifdError('ERR_STORE_GONE', message, { errno: 'ECONNRESET' });
    for (const listener of [...this.#listeners]) listener(lost);
  }

  /** Registers watches again, and each fires once. A watch that was never registered registers itself. */
  #onStarted(): void {
    const session = this.#connect();
    this.#session = session;
    for (const goOn of this.#waiting.splice(0)) goOn();
    for (const listener of [...this.#listeners]) listener(undefined);
    for (const [token, watch] of this.#watches) {
      if (watch.registered) session.watch(watch.path, token);
    }
  }

  #started(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  // ---- watches ----------------------------------------------------------------------------------

  #onEvent(token: string, path: string): void {
    const watch = this.#watches.get(token);
    if (watch === undefined) return;
    if (watch.early === undefined) this.#queue(watch, path);
    else watch.early.push(path);
  }

  /** Delivers an event two microtasks later, so that the caller of the request that caused it continues first. */
  #queue(watch: InProcessWatch, path: string): void {
    if (!this.#events.push(watch, path)) return;
    queueMicrotask(() => queueMicrotask(() => this.#events.deliverOne()));
  }

  async #unwatch(token: string, watch: InProcessWatch): Promise<void> {
    this.#forget(token, watch);
    // The watch ended with its connection.
    if (this.#end !== undefined || this.#session === undefined) return;
    try {
      await this.talk(MessageType.UNWATCH, watch.path, encodeStrings(watch.path, token));
    } catch (error) {
      if (error !== this.#end && !isStoreError(error, 'ENOENT')) throw error;
    }
  }

  #forget(token: string, watch: InProcessWatch): void {
    this.#watches.delete(token);
    this.#events.forget(watch);
  }

  #requireOpen(): void {
    if (this.#end !== undefined) throw this.#end;
  }

  #finish(end: VifdError): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    this.#stopWaiting();
    for (const [token, watch] of [...this.#watches]) this.#forget(token, watch);
    this.#session?.close();
    this.#session = undefined;
    for (const goOn of this.#waiting.splice(0)) goOn();
    if (!this.#killed) this.transactions.rejectWaiting(end);
  }
}
