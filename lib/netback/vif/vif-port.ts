import { VifdError } from '../../errors.js';
import type { Port, PortTrouble } from '../../ports/port.js';
import type { VifDetails } from '../show.js';

export interface VifPortParts {
  /** Returns the bridge that the toolstack names now. */
  readonly bridge: () => string | undefined;
  readonly open: () => Port | Promise<Port>;
  /** Removes the port that an earlier process made and this one has not opened. */
  readonly removeLeft: () => void | Promise<void>;
  /** Called when the port has a fault, and with undefined when the fault is over. */
  readonly onTrouble: (trouble: PortTrouble | undefined) => void;
}

/** The port of a vif. Opens it when it is first needed, watches it, and closes it when it is lost or the vif ends. */
export class VifPort {
  readonly #parts: VifPortParts;
  #port: Port | undefined;
  /** The bridge that the toolstack named when the port was opened. */
  #bridge: string | undefined;
  #opening: Promise<Port> | undefined;
  /** The port that is watched, and how that ends. */
  #followed: Port | undefined;
  #following: Disposable | undefined;
  /** The link's state that vifd set last; undefined if it set none yet, or if the port has no link. */
  #link: 'up' | 'down' | undefined;
  /** What was asked since the last `open` began: a port that opens only then gets it, too. */
  #endedAs: 'closed' | 'removed' | undefined;
  /** Whether the port was removed, so that nothing of it outlives the process. */
  #removed = false;
  /** Frames that earlier ports of this vif dropped in this process. */
  #droppedBefore = 0;
  /** Frames that the port had dropped when this vif opened it: a frame port may have been another vif's. */
  #droppedEarlier = 0;

  constructor(parts: VifPortParts) {
    this.#parts = parts;
  }

  /** The open port; undefined while none is open. */
  get current(): Port | undefined {
    return this.#port;
  }

  /** Whether the port is open and the toolstack now names another bridge than when it was opened. */
  get moved(): boolean {
    return this.#port !== undefined && this.#parts.bridge() !== this.#bridge;
  }

  /** How many frames for the guest its ports dropped in this process before vifd could read them. */
  get dropped(): number {
    const { dropped = 0 } = this.#port ?? {};
    return this.#port === undefined
      ? this.#droppedBefore
      : this.#droppedBefore + dropped - this.#droppedEarlier;
  }

  show(): Pick<VifDetails, 'port' | 'link'> {
    return { port: this.#port?.name, link: this.#link };
  }

  /** Sets the open port's link. @returns whether that succeeded. */
  setLink(up: boolean): boolean {
    const done = this.#port?.setCarrier?.(up) === true;
    if (done) this.#link = up ? 'up' : 'down';
    return done;
  }

  /** Sets the link down, because no guest is connected. */
  noGuest(): void {
    if (this.#link !== 'down') this.setLink(false);
  }

  /** Returns the open port, or opens one, and follows it. Calls that overlap get the same port. */
  async open(): Promise<Port> {
    const port = await this.openUnfollowed();
    this.follow();
    return port;
  }

  /** As `open`, for a guest that waits: the first look of a port at its interface takes a millisecond. `follow` has to be called later. */
  openUnfollowed(): Promise<Port> {
    if (this.#port !== undefined) return Promise.resolve(this.#port);
    this.#opening ??= this.#openNew().finally(() => {
      this.#opening = undefined;
    });
    return this.#opening;
  }

  /** Watches the open port, if it is not watched yet. */
  follow(): void {
    const port = this.#port;
    if (port === undefined || port === this.#followed) return;
    let reported = false;
    const following = port.follow?.((trouble) => {
      reported = true;
      if (this.#port === port) this.#parts.onTrouble(trouble);
    });
    // It was lost already.
    if (this.#port !== port) {
      following?.[Symbol.dispose]();
      return;
    }
    this.#followed = port;
    this.#following = following;
    if (!reported) this.#parts.onTrouble(undefined);
  }

  async #openNew(): Promise<Port> {
    this.#endedAs = undefined;
    this.#bridge = this.#parts.bridge();
    const port = await this.#parts.open();
    // A program in JavaScript may forget its `return`.
    if (typeof port?.open !== 'function') {
      const message = `The option \`port\` returned ${port === null ? 'null' : `a value of type ${typeof port}`}, which is no port.`;
      throw new VifdError('ERR_ARGUMENT', `${message} Return tap(), framePort() or another Port.`);
    }
    if (this.#endedAs !== undefined) {
      await end(port, this.#endedAs === 'removed');
      throw new VifdError('ERR_STATE', `Port ${port.name} was ${this.#endedAs} while it was opened.`);
    }
    this.#removed = false;
    this.#droppedEarlier = port.dropped ?? 0;
    this.#port = port;
    return port;
  }

  /**
   * Removes the port, including the parts that outlive a process, because the vif is gone for good. That includes a port that this process never
   * opened: a process that was killed during the removal may have left it.
   */
  async remove(): Promise<void> {
    this.#endedAs = 'removed';
    const port = this.#forget();
    if (port !== undefined) await end(port, true);
    else if (!this.#removed) await this.#parts.removeLeft();
    this.#removed = true;
  }

  /** Closes the port, also one that is being opened. Its parts that outlive the process stay. */
  async close(): Promise<void> {
    this.#endedAs ??= 'closed';
    const port = this.#forget();
    if (port !== undefined) await end(port, false);
    await this.#opening?.catch(() => undefined);
  }

  #forget(): Port | undefined {
    const port = this.#port;
    this.#droppedBefore = this.dropped;
    this.#port = undefined;
    this.#link = undefined;
    this.#following?.[Symbol.dispose]();
    this.#following = undefined;
    this.#followed = undefined;
    return port;
  }
}

async function end(port: Port, removes: boolean): Promise<void> {
  try {
    if (removes) await port.remove?.();
  } finally {
    await port[Symbol.asyncDispose]();
  }
}
