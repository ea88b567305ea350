import { bytesOf } from './multicast.js';

/** An ethertype for local experiments (IEEE 802), which no numbered frame has. */
const ETHERTYPE = 0x88b5;
const AT_ETHERTYPE = 12;
const AT_GUEST = 14;
const AT_NUMBER = 16;
const BYTES = 60;

interface Probe {
  readonly address: string;
  readonly wanted: boolean;
  came: number;
}

/** Multicast frames to a guest, which must get exactly those of its list. */
export class Probes {
  readonly faults: string[] = [];
  readonly #domid: number;
  readonly #sent: Probe[] = [];
  /** The frames before this one are judged. */
  #judged = 0;

  constructor(domid: number) {
    this.#domid = domid;
  }

  /** @param wanted the address is in the guest's list. @returns the frame. */
  frame(address: string, wanted: boolean): Uint8Array {
    const frame = new Uint8Array(BYTES);
    frame.set(bytesOf(address));
    const view = new DataView(frame.buffer);
    view.setUint16(AT_ETHERTYPE, ETHERTYPE);
    view.setUint16(AT_GUEST, this.#domid);
    view.setUint16(AT_NUMBER, this.#sent.length);
    this.#sent.push({ address, wanted, came: 0 });
    return frame;
  }

  /** The guest got a frame. @returns whether it is one of these. */
  take(frame: Uint8Array): boolean {
    const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
    if (frame.length !== BYTES || view.getUint16(AT_ETHERTYPE) !== ETHERTYPE) return false;
    const probe = this.#sent[view.getUint16(AT_NUMBER)];
    if (view.getUint16(AT_GUEST) !== this.#domid || probe === undefined) {
      this.faults.push('the guest was shown a multicast frame of another one');
      return true;
    }
    probe.came += 1;
    if (!probe.wanted)
      this.faults.push(`the guest got a frame to ${probe.address}, which is not in its list`);
    if (probe.came > 1) this.faults.push(`the guest got a frame to ${probe.address} twice`);
    return true;
  }

  /** Call it when no event has waited since the last frames were sent. @param mayMiss frames may have been lost for another reason. */
  judge(mayMiss: boolean): void {
    for (; this.#judged < this.#sent.length; this.#judged++) {
      const { address, wanted, came } = this.#sent[this.#judged];
      if (wanted && came === 0 && !mayMiss)
        this.faults.push(`the guest did not get a frame to ${address}, which is in its list`);
    }
  }
}
