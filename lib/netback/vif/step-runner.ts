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

/** Runs the steps of one vif (steps.ts), each to its end before the next. */
export class StepRunner {
  readonly #parts: StepRunnerParts;
  /** The vif's state while its guest is neither served nor stopped. */
  phase: 'waiting' | 'closed' | 'detached' = 'waiting';
  #offered = false;

  constructor(parts: StepRunnerParts) {
    this.#parts = parts;
  }

  /** Whether the node has the offer of this process. */
  get offered(): boolean {
    return this.#offered;
  }

  /** Runs a step. Rejects for a fault that the guest has not caused; then the next look tries again. */
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

  /** Ends the connection and forgets the guest's keys, which belong to it. */
  #endConnection(): void {
    const { node, attachment } = this.#parts;
    if (attachment.connection !== undefined || attachment.reason !== undefined) node.forgetGuest();
    attachment.end('guest-closed');
  }

  async #expect(writesOffer: boolean, snapshot: VifSnapshot): Promise<void> {
    const { node, port, offer } = this.#parts;
    this.#endConnection();
    this.phase = 'waiting';
    // A toolstack that writes key by key may name the bridge last. If no script puts the tap into the bridge, vifd makes the tap anew there.
    // A tap that an earlier process made stays, because someone may have set it up since.
    if (!snapshot.hasScript && port.moved) await port.remove();
    const opened = await port.open();
    port.noGuest();
    if (writesOffer) this.#offered = await node.advertise(offer, this.#queuesFor(opened), snapshot);
  }

  async #serve({ write }: ServeStep, snapshot: VifSnapshot): Promise<void> {
    const { node, attachment } = this.#parts;
    const handshake = await this.#readGuest();
    // vifd reads the guest's keys after its state. If the guest has changed its state meanwhile, its keys are no fault, and the event of that
    // change causes another look.
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
    // Removed before the write, because Closed means to libxl that nothing is left.
    if (what === 'remove') await port.remove();
    if (write !== undefined) await node.setState(write, snapshot);
    if (what !== 'open') return;
    // If the guest closed while no vifd ran and the service manager stored the tap's descriptor, the tap still has its carrier, and opening
    // it takes the carrier away. The port is opened last because the guest waits for Closed, and opening can fail.
    await port.open();
    port.noGuest();
  }

  /**
   * Reads the guest's keys. A guest to which this process has made no offer has negotiated with another backend; that backend's offer is then
   * compared with this one's.
   */
  #readGuest(): Promise<Handshake> {
    const { node, attachment, offer } = this.#parts;
    const isForeign = attachment.connection === undefined && !this.#offered;
    return node.readGuest(isForeign ? offer : undefined);
  }

  /** Returns how many queues a new connection may have. */
  #queuesFor({ queuesMax = 1 }: Port): number {
    return Math.min(queuesMax, this.#parts.queues);
  }
}
