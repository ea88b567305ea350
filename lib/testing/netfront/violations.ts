/**
 * The violations of the protocol by a backend: those that Linux's xen-netfront checks (drivers/net/xen-netfront.c), and some that only a test
 * can detect.
 */
export const VIOLATION_KINDS = [
  'wrong-id', // a response in the slot of another request
  'repeated-id', // an id that had its response before and is not in use now
  'idle-slot', // an id that was never used
  'responses-beyond-requests', // rsp_prod ran past req_prod, or backwards
  'index-overwritten', // an index that only the frontend writes has changed
  'grant-in-use', // still mapped when the response came
  'unknown-status', // a status that netif.h does not know
  'extra-not-null', // a response to a slot with extra info as if the slot had data
  'span-beyond-page', // offset + status reach outside the page
  'chain-too-long', // more_data without end
  'chain-incomplete', // more_data, and nothing follows
  'missing-extra', // extra_info, and nothing follows
  'bad-extra', // extra info of a type that the frontend did not ask for
  'bad-hash', // a hash that does not match the frame, or of a type that the frontend did not ask for
  'bad-gso', // GSO of size 0 or unknown type, or without the checksum flags that it needs
  'not-negotiated', // a feature that the frontend did not offer
  'frame-too-large', // longer than what was announced
  'frame-too-short', // no Ethernet header
  'content-mismatch', // bytes that were not sent (only traffic with known content)
] as const;
/** One of VIOLATION_KINDS. */
export type ViolationKind = (typeof VIOLATION_KINDS)[number];

/** The direction of a frame, as `vifd` names it. */
export type Direction = 'from-guest' | 'to-guest';

/** A violation of the protocol by a backend. */
export interface Violation {
  /** Which rule was broken. */
  readonly kind: ViolationKind;
  /** The ring on which it was found. */
  readonly ring: Direction | 'control';
  /** Slot of the ring, or the frame's number if there is no slot. */
  readonly slot: number;
  /** What was wrong, with the values. */
  readonly detail: string;
}

/** How many violations are recorded in full; all are counted. */
const LIST_MAX = 256;

/** A backend's violations of the protocol. They are recorded and never thrown; the frontend continues as far as it can. */
export class Violations {
  readonly #list: Violation[] = [];
  readonly #counts = new Map<ViolationKind, number>();
  readonly #onViolation: ((violation: Violation) => void) | undefined;
  #total = 0;

  /** @param onViolation called with each violation. */
  constructor(onViolation?: (violation: Violation) => void) {
    this.#onViolation = onViolation;
  }

  /** The first violations, at most LIST_MAX. */
  get list(): readonly Violation[] {
    return this.#list;
  }

  /** How many there were. */
  get total(): number {
    return this.#total;
  }

  /** How many there were of one kind. */
  count(kind: ViolationKind): number {
    return this.#counts.get(kind) ?? 0;
  }

  /** Kinds that occurred. */
  counts(): Partial<Record<ViolationKind, number>> {
    return Object.fromEntries(this.#counts);
  }

  /** Records a violation, and calls `onViolation`. */
  add(kind: ViolationKind, ring: Violation['ring'], slot: number, detail: string): void {
    const violation = { kind, ring, slot, detail };
    this.#total += 1;
    this.#counts.set(kind, this.count(kind) + 1);
    if (this.#list.length < LIST_MAX) this.#list.push(violation);
    this.#onViolation?.(violation);
  }
}
