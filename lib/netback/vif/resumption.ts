import type { Ignored } from '../../durable/journal-head.js';

/** What vifd knows of a connection once its rings are attached, and before any frame moves. */
export interface Evidence {
  /** A backend has published responses in the rings of a queue: frontends begin rings at 0. */
  readonly queuesServed: boolean;
  /** The guest's control ring: the place where the responses end, and whether the journal records that it passed 2^32. undefined: none. */
  readonly control: { readonly answered: number; readonly wrapped: boolean } | undefined;
  /** The vif's journal does not record that the connection has begun. */
  readonly fresh: boolean;
  /** Why what stood in the vif's journal is not used; undefined: it is, or the journal is new. */
  readonly ignored: Ignored | undefined;
  /** This process has attached to the connection before. */
  readonly isKnown: boolean;
  /** The vif was Connected when vifd found it, and the guest has not closed since. */
  readonly foundConnected: boolean;
}

/** A part of the journal's memory: its content is cleared, or counts. */
export type Start = 'anew' | 'continued';

/** What is begun anew when vifd attaches, and what continues where a backend left it. */
export interface Resumption {
  /** A backend has served this connection before. */
  readonly resumed: boolean;
  /** The guest's list of multicast addresses. */
  readonly multicast: Start;
  /** The record that the control ring's index has passed 2^32. */
  readonly controlWrap: Start;
  /** How the guest wants its frames hashed. */
  readonly hash: Start;
  /** Grants that stay mapped continue after so many responses in the control ring; undefined: with none. */
  readonly stagedAfter: number | undefined;
  /** Frames that wait in the port were sent before the connection: to no guest, or to the guest's previous connection. */
  readonly dropsOld: boolean;
}

/**
 * Decides whether a connection begins or is resumed, once for all of its parts.
 *
 * The rings decide about what the guest programmed, since no backend can serve a connection without moving them: at 0 they are a new
 * connection's, and what the journal has is of an earlier one with the same names. What was programmed by the control ring counts only if
 * requests were answered there. A control ring at 0 is unused, or its index has passed 2^32.
 *
 * Frames in the port need more: a connection may have begun and moved no frame yet. See docs/taps.md, "The link of a vif".
 */
export function resumptionOf(evidence: Evidence): Resumption {
  const { queuesServed, control, fresh, ignored, isKnown, foundConnected } = evidence;
  const resumed = queuesServed || (control !== undefined && control.answered !== 0);
  const isProgrammed = resumed && control !== undefined && (control.answered !== 0 || control.wrapped);
  // A Connected vif was served by an earlier process. Its guest has a new connection since only if the journal is another connection's.
  const isServed = foundConnected && ignored !== 'foreign';
  return {
    resumed,
    multicast: resumed ? 'continued' : 'anew',
    controlWrap: resumed ? 'continued' : 'anew',
    hash: isProgrammed ? 'continued' : 'anew',
    stagedAfter: isProgrammed ? control.answered : undefined,
    dropsOld: fresh && !resumed && !isKnown && !isServed,
  };
}
