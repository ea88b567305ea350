import type { Ignored } from '../../durable/journal-head.js';

/** What vifd knows about a connection after it has attached to the rings and before any frame moves. */
export interface Evidence {
  /** Whether a backend has published responses in the rings of a queue. Frontends start rings at 0, so another index shows that. */
  readonly queuesServed: boolean;
  /**
   * The guest's control ring: the index up to which it has responses, and whether the journal records that it has wrapped. Undefined
   * without a ring.
   */
  readonly control: { readonly responded: number; readonly wrapped: boolean } | undefined;
  /** Whether the vif's journal lacks the record that the connection has begun. */
  readonly fresh: boolean;
  /** Why the content of the vif's journal was ignored; undefined if it is used, or if the journal is new. */
  readonly ignored: Ignored | undefined;
  /** Whether this process has attached to the connection before. */
  readonly isKnown: boolean;
  /** Whether the vif was Connected when vifd found it and the guest has not closed since. */
  readonly foundConnected: boolean;
}

/** What happens to a part of the journal when vifd attaches: its content is cleared (anew) or used (continued). */
export type Start = 'anew' | 'continued';

/** Which parts start anew when vifd attaches, and which continue in the state that a previous process left. */
export interface Resumption {
  /** Whether a backend has served this connection before. */
  readonly resumed: boolean;
  /** The guest's list of multicast addresses. */
  readonly multicast: Start;
  /** The record that the control ring's index has wrapped. */
  readonly controlWrap: Start;
  /** How the guest wants its frames hashed. */
  readonly hash: Start;
  /** The control ring's index after which the list of staged grants continues; undefined: the list starts empty. */
  readonly stagedAfter: number | undefined;
  /**
   * Whether the frames in the port were sent before this connection, to no guest or to the guest's previous connection, and must be
   * dropped.
   */
  readonly dropsOld: boolean;
}

/**
 * Decides whether a connection begins or is resumed, once for all of its parts.
 *
 * For the state that the guest programmed, the rings decide, because no backend can serve a connection without moving their indices. Rings at
 * 0 belong to a new connection, and the journal's content to an earlier one with the same domid, references and ports. State that was
 * programmed by the control ring is valid only if that ring has responses. A control ring at 0 is unused, or its index has wrapped.
 *
 * Frames in the port need more evidence, because a connection may have begun and moved no frame yet. See docs/taps.md, "The link of a vif".
 */
export function resumptionOf(evidence: Evidence): Resumption {
  const { queuesServed, control, fresh, ignored, isKnown, foundConnected } = evidence;
  const resumed = queuesServed || (control !== undefined && control.responded !== 0);
  const isProgrammed = resumed && control !== undefined && (control.responded !== 0 || control.wrapped);
  // An earlier process served a Connected vif. Its guest has a new connection only if the journal belongs to another connection.
  const isServed = foundConnected && ignored !== 'foreign';
  return {
    resumed,
    multicast: resumed ? 'continued' : 'anew',
    controlWrap: resumed ? 'continued' : 'anew',
    hash: isProgrammed ? 'continued' : 'anew',
    stagedAfter: isProgrammed ? control.responded : undefined,
    dropsOld: fresh && !resumed && !isKnown && !isServed,
  };
}
