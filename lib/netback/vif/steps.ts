import { XenbusState } from '../../protocol/xenbus.js';
import type { VifSnapshot } from './vif-node.js';

const {
  Unknown,
  Initialising,
  InitWait,
  Initialised,
  Connected,
  Closing,
  Closed,
  Reconfiguring,
  Reconfigured,
} = XenbusState;

/** What vifd does for a vif after a look at the store. `write` is the state that vifd writes into the backend's node at the end, if any. */
export type Step =
  /** The node is gone: the vif ends, and its port is removed. */
  | { readonly do: 'end' }
  /** xenstored came back without the node: the guest stays attached, and vifd looks for the node again. */
  | { readonly do: 'await the node' }
  /** The guest has not connected: open the port, write the offer (unless `offer` is false) together with InitWait. */
  | { readonly do: 'expect'; readonly offer: boolean }
  /** The guest has connected: attach to it. `write` waits until that has succeeded. */
  | { readonly do: 'serve'; readonly write?: typeof Connected | undefined }
  /** A connected guest reconfigures: take the step `first`, read the guest's settings again, respond. */
  | {
      readonly do: 'reconfigure';
      readonly first: Extract<Step, { readonly do: 'expect' | 'serve' }> | undefined;
      readonly write?: typeof Reconfigured | undefined;
    }
  /** The guest closes its connection: detach. */
  | { readonly do: 'close'; readonly write?: typeof Closing | undefined }
  /** The connection is over: detach; remove the port, or else open it after the write, or leave it as it is. */
  | {
      readonly do: 'closed';
      readonly port: 'remove' | 'open' | 'leave';
      readonly write?: typeof Closed | undefined;
    }
  | { readonly do: 'nothing' };

/** A step for a vif whose node is there. */
export type PresentStep = Exclude<Step, { readonly do: 'end' | 'await the node' }>;

/** The history of a vif that its next step depends on. */
export interface SoFar {
  /** Whether the node was seen on the present connection to the store: only then is its absence a removal. */
  readonly seen: boolean;
  /** Whether the hypervisor reports that the guest's domain is gone. vifd asks only if the node is missing and was not seen. */
  readonly domainGone: boolean;
  /** Whether the node has the offer of this process. */
  readonly offered: boolean;
}

/** A row of the table. Its step is taken if every condition in the row fits. */
export interface Row {
  /** The backend's state; undefined: any. */
  readonly own?: readonly XenbusState[];
  /** The guest's state; undefined: any. */
  readonly frontend?: readonly XenbusState[];
  readonly online?: boolean;
  /** Whether vifd need not wait for a hotplug script: see `Hotplug`. */
  readonly plugged?: true;
  /** See `SoFar`. */
  readonly offered?: true;
  readonly step: Step;
}

const CONNECTING = [Initialised, Connected];
/** The backend's states in which vifd serves a connected guest. */
const SERVABLE = [InitWait, Connected, Reconfigured];
const EXPECT: Step = { do: 'expect', offer: true };
const SERVE: Step = { do: 'serve' };
const PLUGGED: Step = { do: 'serve', write: Connected };
const reconfigure = (first?: Extract<Step, { do: 'expect' | 'serve' }>): Step => ({
  do: 'reconfigure',
  first,
  write: Reconfigured,
});

const OTHERWISE: Row = { step: { do: 'nothing' } };

/**
 * The first row that fits applies. `docs/vif-lifecycle.md` shows the same rows, and test/netback/steps.test.ts compares them. vifd
 * does not write a state that the node has already, because guests watch it.
 */
export const TABLE: readonly Row[] = [
  // The toolstack wrote Closing into the backend's node and waits for Closed, whatever the guest does.
  { own: [Closing, Closed], online: false, step: { do: 'closed', port: 'remove', write: Closed } },
  { frontend: [Unknown, Closed], online: false, step: { do: 'closed', port: 'remove', write: Closed } },
  { frontend: [Unknown], step: { do: 'closed', port: 'leave', write: Closed } },
  { frontend: [Closed], step: { do: 'closed', port: 'open', write: Closed } },
  { own: [Closing, Closed], frontend: [Closing], step: { do: 'close' } },
  { frontend: [Closing], step: { do: 'close', write: Closing } },
  // The guest may have rebooted without closing its connection.
  { own: [InitWait], frontend: [Initialising], offered: true, step: { do: 'expect', offer: false } },
  { frontend: [Initialising], step: EXPECT },
  // Not every guest waits for InitWait: mini-os and MirageOS write Connected at once, MirageOS from Closed too.
  { own: [Initialising, Closed], frontend: CONNECTING, step: EXPECT },
  { own: [InitWait], frontend: CONNECTING, plugged: true, step: PLUGGED },
  { own: [Reconfigured], frontend: [Connected], step: PLUGGED },
  { own: SERVABLE, frontend: CONNECTING, step: SERVE },
  // The guest waits for the backend's response, while frames continue to move.
  { own: [Initialising, Closed], frontend: [Reconfiguring], step: reconfigure(EXPECT) },
  { own: [InitWait], frontend: [Reconfiguring], plugged: true, step: reconfigure(PLUGGED) },
  { own: SERVABLE, frontend: [Reconfiguring], step: reconfigure(SERVE) },
  { frontend: [Reconfiguring], step: reconfigure() },
  OTHERWISE,
];

/**
 * @param snapshot of the last look; undefined if it found no node.
 * @returns the snapshot; undefined if the vif's node is missing. After a loss of the store, a node whose guest's state cannot be read counts
 * as missing until the vif was seen once more.
 */
export function presentIn(snapshot: VifSnapshot | undefined, seen: boolean): VifSnapshot | undefined {
  return seen || snapshot?.frontend !== Unknown ? snapshot : undefined;
}

/** @returns the step to take after a look. @param present see `presentIn`. */
export function stepOf(present: VifSnapshot | undefined, soFar: SoFar): Step {
  if (present === undefined) return soFar.seen || soFar.domainGone ? { do: 'end' } : { do: 'await the node' };
  const { step } = rowFor(present, soFar);
  return 'write' in step && step.write === present.own ? { ...step, write: undefined } : step;
}

/** @returns the row of the table that applies. */
export function rowFor(present: VifSnapshot, soFar: SoFar): Row {
  return TABLE.find((row) => fits(row, present, soFar)) ?? OTHERWISE;
}

function fits(row: Row, snapshot: VifSnapshot, { offered }: SoFar): boolean {
  return (
    (row.own?.includes(snapshot.own) ?? true) &&
    (row.frontend?.includes(snapshot.frontend) ?? true) &&
    (row.online === undefined || row.online === snapshot.online) &&
    (row.plugged === undefined || snapshot.plugged) &&
    (row.offered === undefined || offered)
  );
}
