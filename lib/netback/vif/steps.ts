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

/** What a vif does after a look at the store. `write` is the state that it writes into its own node at the end, if any. */
export type Step =
  /** The node is gone: the vif ends, and its port is removed. */
  | { readonly do: 'end' }
  /** xenstored came back without the node: the guest stays attached, and vifd looks for the node again. */
  | { readonly do: 'await the node' }
  /** The guest has not connected: open the port, write the offer (unless `offer` is false) together with InitWait. */
  | { readonly do: 'expect'; readonly offer: boolean }
  /** The guest has connected: attach to it. `write` waits until that has succeeded. */
  | { readonly do: 'serve'; readonly write?: typeof Connected | undefined }
  /** A connected guest changes what it asks for: take `first`, read what it asks for, respond. */
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

/** What a vif has seen and done so far, as far as its next step depends on it. */
export interface SoFar {
  /** The node was seen since the store was connected to: from then on its absence is a removal. */
  readonly seen: boolean;
  /** The hypervisor reports that the guest's domain is gone. vifd asks only if the node is missing and was not seen. */
  readonly domainGone: boolean;
  /** What the node offers is what this process offers. */
  readonly offered: boolean;
}

/** A row of the table: its step is taken if all that the row names fits. */
export interface Row {
  /** Our state; undefined: any. */
  readonly own?: readonly XenbusState[];
  /** The guest's state; undefined: any. */
  readonly frontend?: readonly XenbusState[];
  readonly online?: boolean;
  /** vifd need not wait for a hotplug script: see `Hotplug`. */
  readonly plugged?: true;
  /** See `SoFar`. */
  readonly offered?: true;
  readonly step: Step;
}

const CONNECTING = [Initialised, Connected];
/** Our states in which a guest that is connected is served. */
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
 * The first row that fits counts. `docs/vif-lifecycle.md` shows the same rows, and test/netback/steps.test.ts compares them. A
 * state that our node has already is not written again: guests watch it.
 */
export const TABLE: readonly Row[] = [
  // The toolstack wrote Closing into our own node and waits for Closed, whatever the guest does.
  { own: [Closing, Closed], online: false, step: { do: 'closed', port: 'remove', write: Closed } },
  { frontend: [Unknown, Closed], online: false, step: { do: 'closed', port: 'remove', write: Closed } },
  { frontend: [Unknown], step: { do: 'closed', port: 'leave', write: Closed } },
  { frontend: [Closed], step: { do: 'closed', port: 'open', write: Closed } },
  { own: [Closing, Closed], frontend: [Closing], step: { do: 'close' } },
  { frontend: [Closing], step: { do: 'close', write: Closing } },
  // It may have rebooted without closing its connection.
  { own: [InitWait], frontend: [Initialising], offered: true, step: { do: 'expect', offer: false } },
  { frontend: [Initialising], step: EXPECT },
  // Not every guest waits for InitWait: mini-os and MirageOS write Connected at once, MirageOS from Closed too.
  { own: [Initialising, Closed], frontend: CONNECTING, step: EXPECT },
  { own: [InitWait], frontend: CONNECTING, plugged: true, step: PLUGGED },
  { own: [Reconfigured], frontend: [Connected], step: PLUGGED },
  { own: SERVABLE, frontend: CONNECTING, step: SERVE },
  // The guest waits for our response, and frames move all the while.
  { own: [Initialising, Closed], frontend: [Reconfiguring], step: reconfigure(EXPECT) },
  { own: [InitWait], frontend: [Reconfiguring], plugged: true, step: reconfigure(PLUGGED) },
  { own: SERVABLE, frontend: [Reconfiguring], step: reconfigure(SERVE) },
  { frontend: [Reconfiguring], step: reconfigure() },
  OTHERWISE,
];

/**
 * @param snapshot what a look read; undefined: it found no node.
 * @returns undefined if the vif's node is missing. After a loss of the store a node whose guest's state cannot be read counts as missing
 * until the vif was seen once more.
 */
export function presentIn(snapshot: VifSnapshot | undefined, seen: boolean): VifSnapshot | undefined {
  return seen || snapshot?.frontend !== Unknown ? snapshot : undefined;
}

/** @returns what to do after a look. @param present see `presentIn`. */
export function stepOf(present: VifSnapshot | undefined, soFar: SoFar): Step {
  if (present === undefined) return soFar.seen || soFar.domainGone ? { do: 'end' } : { do: 'await the node' };
  const { step } = rowFor(present, soFar);
  return 'write' in step && step.write === present.own ? { ...step, write: undefined } : step;
}

/** @returns the row of the table that counts. */
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
