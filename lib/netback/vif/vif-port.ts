import type { Port, PortTrouble } from '../../ports/port.js';
import type { VifDetails } from '../show.js';

export interface VifPortParts {
  /** The bridge that the toolstack names now. */
  readonly bridge: () => string | undefined;
  readonly open: () => Port | Promise<Port>;
  /** Removes the port that an earlier process made and this one has not opened. */
  readonly removeLeft: () => void | Promise<void>;
  /** Undefined: all is well again. */
  readonly onTrouble: (trouble: PortTrouble | undefined) => void;
}

/** The port of a vif: opened when it is first needed, followed, and given up when it is lost or the vif ends. */
export class VifPort {
  readonly #parts: VifPortParts;
  #port: Port | undefined;
  /** The bridge that the toolstack named when the port was opened. */
  #bridge: string | undefined;
  #opening: Promise<Port> | undefined;
  #following: Disposable | undefined;
  /** What vifd set last; undefined: nothing yet, or the port has no link. */
  #link: 'up' | 'down' | undefined;
  /** Nothing of the port is left that would outlive the process. */
  #removed = false;
  /** Frames that earlier ports of this vif dropped in this process. */
  #droppedBefore = 0;

  constructor(parts: VifPortParts) {
    this.#parts = parts;
  }

  /** Undefined while none is open. */
  get current(): Port | undefined {
    return this.#port;
  }

  /** The port is open, and the toolstack names another bridge now than when it was opened. */
  get moved(): boolean {
    return this.#port !== undefined && this.#parts.bridge() !== this.#bridge;
  }

  /** Frames for the guest that its ports dropped in this process before they could be read. */
  get dropped(): number {
    return this.#droppedBefore + (this.#port?.dropped ?? 0);
  }

  show(): Pick<VifDetails, 'port' | 'link'> {
    return { port: this.#port?.name, link: this.#link };
  }

  /** Takes the open port's link up or down. @returns whether it is so now. */
  setLink(up: boolean): boolean {
    const done = this.#port?.setCarrier?.(up) === true;
    if (done) this.#link = up ? 'up' : 'down';
    return done;
  }

  /** Takes the link down, since no guest is connected. */
  noGuest(): void {
    if (this.#link !== 'down') this.setLink(false);
  }

  /** The port that is open, or a new one. Calls that overlap get the same one. */
  open(): Promise<Port> {
    if (this.#port !== undefined) return Promise.resolve(this.#port);
    this.#opening ??= this.#openNew().finally(() => {
      this.#opening = undefined;
    });
    return this.#opening;
  }

  async #openNew(): Promise<Port> {
    this.#bridge = this.#parts.bridge();
    const port = await this.#parts.open();
    this.#removed = false;
    this.#port = port;
    let told = false;
    this.#following = port.follow?.((trouble) => {
      told = true;
      if (this.#port === port) this.#parts.onTrouble(trouble);
    });
    if (!told) this.#parts.onTrouble(undefined);
    return port;
  }

  /**
   * Takes away what would outlive the process: the vif is gone for good. This includes a port that this process never opened, since a
   * process that was killed during the removal left it.
   */
  async remove(): Promise<void> {
    const port = this.#forget();
    try {
      if (port !== undefined) await port.remove?.();
      else if (!this.#removed) await this.#parts.removeLeft();
      this.#removed = true;
    } finally {
      await port?.[Symbol.asyncDispose]();
    }
  }

  /** Leaves what outlives the process as it is. */
  async close(): Promise<void> {
    await this.#forget()?.[Symbol.asyncDispose]();
  }

  #forget(): Port | undefined {
    const port = this.#port;
    this.#droppedBefore = this.dropped;
    this.#port = undefined;
    this.#link = undefined;
    this.#following?.[Symbol.dispose]();
    this.#following = undefined;
    return port;
  }
}
