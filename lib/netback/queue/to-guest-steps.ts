import { RING_BROKEN } from '../ring/back-ring.js';

/** What the to-guest direction of a queue does next. */
export type Step =
  /** Stops the vif: the guest broke the ring. */
  | 'stop'
  /** Moves the frames that are another queue's there. */
  | 'sort'
  /** Puts pending frames into the guest's buffers. */
  | 'deliver'
  /** Ends the turn: another queue uses the room in this one's batch first. */
  | 'yield'
  /** Reads a batch from the port. */
  | 'read'
  /** Ends the stall timer, and the turn: no frame waits, and the guest has room. */
  | 'recover'
  /** Ends the turn: no frame waits. */
  | 'rest'
  /** Asks the guest for an event at its next buffer. */
  | 'arm'
  /** Asks the port to report frames, and ends the turn. */
  | 'listen'
  /** Begins the stall timer, if it does not run, and looks at it. */
  | 'time'
  /** Drops the pending frames, so that the port can be read for other queues. */
  | 'make way'
  /** Ends the turn for as long as the stall timer has left. */
  | 'wait'
  /** Drops the pending frames, and those that wait in the port. */
  | 'drop';

/** A round takes no more steps: read, sort, arm, time, and one that ends it. */
export const ROUND_STEPS_MAX = 5;

/** What the next step depends on. `slots` is as of the last look at the ring; the last three begin anew with each look. */
export interface Situation {
  /** Buffers that the guest has posted and no frame has used; or RING_BROKEN. */
  readonly slots: number;
  /** Slots that the guest had too few of when frames last waited. */
  readonly slotsWanted: number;
  /** Slots that the next pending frame takes. Only while one is pending. */
  readonly slotsNeeded: number;
  readonly pendingFrames: number;
  /** How many of the batch may be another queue's. */
  readonly unsortedFrames: number;
  /** The port reported frames, and was not read since. */
  readonly isOffered: boolean;
  /** As `StallTimer` has it. */
  readonly stalled: boolean;
  readonly lapsed: boolean;
  /** The port was read, and had no frame. */
  readonly isDry: boolean;
  /** The guest will send an event at its next buffer. */
  readonly isArmed: boolean;
  /** What the stall timer has left (ms); undefined before the step `time`. */
  readonly leftMs: number | undefined;
}

/** What the next step depends on in the guest's other queues. */
export interface OtherQueues {
  /** The guest has buffers in one of them, and no frame is pending there. */
  readonly needFrames: boolean;
  /** One of them waits for room in this queue's batch. */
  readonly waitForRoom: boolean;
}

/** @param others undefined: the guest does not choose the queues of its frames. */
export function nextStep(queue: Situation, others: OtherQueues | undefined): Step {
  const { slots } = queue;
  if (slots === RING_BROKEN) return 'stop';
  if (others !== undefined && queue.unsortedFrames > 0) return 'sort';
  if (queue.pendingFrames > 0) {
    if (slots > 0 && slots >= queue.slotsNeeded) return 'deliver';
  } else if (!queue.isDry) {
    // Without buffers of its own it reads for the others alone.
    if (slots > 0 || others?.needFrames === true) return others?.waitForRoom === true ? 'yield' : 'read';
  } else if (slots > 0) {
    // Its link may be down, so that no frame comes which would show that a stalled guest has recovered.
    if (slots >= queue.slotsWanted) return 'recover';
    return queue.stalled && !queue.isArmed ? 'arm' : 'rest';
  }
  if (!queue.isArmed) return 'arm';
  if (queue.pendingFrames === 0 && !queue.isOffered) return 'listen';
  if (queue.leftMs === undefined) return 'time';
  // The frames behind these in the port may be another queue's, and these have waited long enough.
  if ((queue.pendingFrames === 0 || queue.lapsed) && others?.needFrames === true) return 'make way';
  return queue.leftMs > 0 ? 'wait' : 'drop';
}
