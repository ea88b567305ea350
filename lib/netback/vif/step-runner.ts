import type { Port } from '../../ports/port.js';
import type { XenbusState } from '../../protocol/xenbus.js';
import type { Attachment } from './attachment.js';
import type { Handshake } from './handshake.js';
import type { Offer } from './offer.js';
import type { PresentStep } from './steps.js';
import type { VifNode, VifSnapshot } from './vif-node.js';
import type { VifPort } from './vif-port.js';

export interface StepRunnerParts {
  readonly node: VifNode;
  readonly port: VifPort;
  readonly attachment: Attachment;
  readonly offer: Offer;
  /** How many queues a guest may have. */
  readonly queues: number;
}

type ServeStep = Extract<PresentStep, { readonly do: 'serve' }>;
type ReconfigureStep = Extract<PresentStep, { readonly do: 'reconfigure' }>;
type ClosedStep = Extract<PresentStep, { readonly do: 'closed' }>;

/** Carries out the steps of one vif (steps.ts), each wholly before the next. */
export class StepRunner {
  readonly #parts: StepRunnerParts;
  /** The vif's state while its guest is neither served nor stopped. */
  phase: 'waiting' | 'closed' | 'detached' = 'waiting';
  #offered = false;

  constructor(parts: StepRunnerParts) {
    this.#parts = parts;
  }

  /** What the node offers is what this process offers. */
  get offered(): boolean {
    return this.#offered;
  }

  /** Rejects for what is not the guest's fault; then the next look tries again. */
  async run(step: PresentStep, snapshot: VifSnapshot): Promise<void> {
    switch (step.do) {
      case 'expect':
        return this.#expect(step.offer, snapshot);
      case 'serve':
        return this.#serve(step, snapshot);
      case 'reconfigure':
        return this.#reconfigure(step, snapshot);
      case 'close':
        return this.close(step.write, snapshot);
      case 'closed':
        return this.#closed(step, snapshot);
      case 'nothing':
        return;
    }
  }

  /** Ends the connection. @param write the state to write then, if any. @param snapshot see `VifNode.setState`. */
  async close(write: XenbusState | undefined, snapshot?: VifSnapshot): Promise<void> {
    this.#endConnection();
    this.phase = 'closed';
    if (write !== undefined) await this.#parts.node.setState(write, snapshot);
  }

  /** The guest's keys were those of the connection that ends. */
  #endConnection(): void {
    const { node, attachment } = this.#parts;
    if (attachment.connection !== undefined || attachment.reason !== undefined) node.forgetGuest();
    attachment.end('guest-closed');
  }

  async #expect(writesOffer: boolean, snapshot: VifSnapshot): Promise<void> {
    const { node, port, offer } = this.#parts;
    this.#endConnection();
    this.phase = 'waiting';
    // A toolstack that writes key by key may name the bridge last: a tap that no script puts into it is made anew there. One that an
    // earlier process made stays: it may have been set up since.
    if (!snapshot.hasScript && port.moved) await port.remove();
    const opened = await port.open();
    port.noGuest();
    if (writesOffer) this.#offered = await node.advertise(offer, this.#queuesFor(opened), snapshot);
  }

  async #serve({ write }: ServeStep, snapshot: VifSnapshot): Promise<void> {
    const { node, attachment } = this.#parts;
    const handshake = await this.#readGuest();
    // vifd reads the guest's keys after its state. A guest that has left that state meanwhile has broken nothing; its event leads to
    // another look.
    if (!handshake.ok && !(await node.isStill(snapshot))) return;
    await attachment.serve(handshake);
    if (write !== undefined && attachment.connection !== undefined) await node.setState(write, snapshot);
  }

  async #reconfigure({ first, write }: ReconfigureStep, snapshot: VifSnapshot): Promise<void> {
    const { node, attachment } = this.#parts;
    if (first !== undefined) await this.run(first, snapshot);
    const handshake = await this.#readGuest();
    const { connection } = attachment;
    if (connection !== undefined && handshake.ok) connection.xdpHeadroom = handshake.settings.xdpHeadroom;
    if (write !== undefined) await node.setState(write);
  }

  async #closed({ port: what, write }: ClosedStep, snapshot: VifSnapshot): Promise<void> {
    const { node, port } = this.#parts;
    this.#endConnection();
    this.phase = 'closed';
    port.noGuest();
    // Before the write: libxl takes Closed for "nothing is left".
    if (what === 'remove') await port.remove();
    if (write !== undefined) await node.setState(write, snapshot);
    if (what !== 'open') return;
    // If the guest closed while no vifd ran and the service manager kept the tap's descriptor, the tap still has its carrier. The port is
    // opened last because the guest waits for Closed, and opening can fail.
    await port.open();
    port.noGuest();
  }

  /**
   * What the guest wrote. A guest to which this process has made no offer negotiated with another backend, whose offer is compared with
   * ours.
   */
  #readGuest(): Promise<Handshake> {
    const { node, attachment, offer } = this.#parts;
    const isForeign = attachment.connection === undefined && !this.#offered;
    return node.readGuest(isForeign ? offer : undefined);
  }

  /** How many queues a new connection may have. */
  #queuesFor({ queuesMax = 1 }: Port): number {
    return Math.min(queuesMax, this.#parts.queues);
  }
}
