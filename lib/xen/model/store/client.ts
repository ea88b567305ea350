import { VifdError } from '../../../errors.js';
import { EventQueue } from '../../store/events.js';
import { StoreOperations } from '../../store/operations.js';
import type { OpenTransaction } from '../../store/transaction.js';
import type { Talk } from '../../store/view.js';
import {
  decodeStrings,
  encodeStrings,
  isStoreError,
  MessageType,
  requireNoNul,
  requirePayloadFits,
} from '../../store/wire.js';
import type { Store, StoreWatch } from '../../types.js';
import { answer } from './requests.js';
import type { StoreSession } from './session.js';
import type { ModelStore } from './store.js';

export interface ModelStoreClient extends Store {
  /**
   * As SIGKILL would: the store forgets the connection at once, no call is answered any more and no watch fires.
   * What was asked for before has happened; what was not has not.
   */
  kill(): void;
}

interface InProcessWatch {
  readonly path: string;
  readonly onChange: (path: string) => void;
  /** Events that came before `watch` resolved: who watches can handle them only then. */
  early: string[] | undefined;
}

/**
 * The model's store as a domain sees it, without sockets: requests take effect, and answers and events arrive, in
 * later microtasks, always in the same order. No timers.
 */
export function modelStoreClient(store: ModelStore, domid: number): ModelStoreClient {
  return new InProcessClient(store, domid);
}

class InProcessClient extends StoreOperations implements ModelStoreClient {
  readonly #session: StoreSession;
  readonly #watches = new Map<string, InProcessWatch>();
  readonly #events = new EventQueue<InProcessWatch>((watch, path) => watch.onChange(path));
  #end: VifdError | undefined;
  #killed = false;
  #lastToken = 0;

  constructor(store: ModelStore, domid: number) {
    super();
    this.#session = store.connect(domid, {
      onEvent: ({ token }, path) => this.#onEvent(token, path),
      onReleased: () =>
        this.#finish(new VifdError('ERR_STORE_GONE', `Domain ${domid} has gone from the model.`)),
    });
  }

  async watch(path: string, onChange: (path: string) => void): Promise<StoreWatch> {
    requireNoNul(MessageType.WATCH, path);
    this.#lastToken += 1;
    const token = String(this.#lastToken);
    const watch: InProcessWatch = { path, onChange, early: [] };
    this.#watches.set(token, watch);
    try {
      await this.talk(MessageType.WATCH, path, encodeStrings(path, token));
    } catch (error) {
      this.#forget(token, watch);
      throw error;
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

  /** The model's store is never lost. */
  onConnection(): Disposable {
    return { [Symbol.dispose]() {} };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#finish(new VifdError('ERR_STATE', 'This xenstore connection was closed.'));
  }

  kill(): void {
    this.#killed = true;
    this.#finish(new VifdError('ERR_STATE', 'This xenstore connection was killed.'));
  }

  protected talk(...message: Parameters<Talk>): ReturnType<Talk> {
    return this.#talkIn(0)(...message);
  }

  #talkIn(transactionId: number): Talk {
    return async (type, path, payload) => {
      requirePayloadFits(type, path, payload);
      this.#requireOpen();
      // The store acts in a later turn, as across a socket.
      await undefined;
      if (this.#killed) return new Promise<never>(() => {});
      this.#requireOpen();
      const reply = answer(this.#session, { type, transactionId, payload });
      await undefined;
      return this.#killed ? new Promise<never>(() => {}) : reply;
    };
  }

  protected async begin(): Promise<OpenTransaction> {
    const reply = await this.talk(MessageType.TRANSACTION_START, '', encodeStrings(''));
    const talk = this.#talkIn(Number(decodeStrings(reply)[0]));
    return {
      talk,
      end: async (commit) =>
        void (await talk(MessageType.TRANSACTION_END, '', encodeStrings(commit ? 'T' : 'F'))),
    };
  }

  #onEvent(token: string, path: string): void {
    const watch = this.#watches.get(token);
    if (watch === undefined) return;
    if (watch.early === undefined) this.#queue(watch, path);
    else watch.early.push(path);
  }

  /** Two microtasks later: an `await` of the call that caused the event goes on in between. */
  #queue(watch: InProcessWatch, path: string): void {
    if (!this.#events.push(watch, path)) return;
    queueMicrotask(() => queueMicrotask(() => this.#events.deliverOne()));
  }

  async #unwatch(token: string, watch: InProcessWatch): Promise<void> {
    this.#forget(token, watch);
    if (this.#end !== undefined) return;
    try {
      await this.talk(MessageType.UNWATCH, watch.path, encodeStrings(watch.path, token));
    } catch (error) {
      // The watch ended with its connection.
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
    for (const [token, watch] of [...this.#watches]) this.#forget(token, watch);
    this.#session.close();
  }
}
