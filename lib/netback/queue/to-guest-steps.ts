import * as ring from '../ring/back-ring.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { RING_BROKEN } = ring;

/** The next step of a queue's to-guest direction. */
export type Step =
  /** Stops the vif, because the guest broke the ring. */
  | 'stop'
  /** Moves frames to the other queues that they belong to. */
  | 'sort'
  /** Puts pending frames into the guest's buffers. */
  | 'deliver'
  /** Ends the turn, so that another queue uses the room in this one's batch first. */
  | 'yield'
  /** Reads a batch from the port. */
  | 'read'
  /** Ends the stall timer and the turn, because no frame waits and the guest has room. */
  | 'recover'
  /** Ends the turn, because no frame waits. */
  | 'rest'
  /** Asks the guest for an event at its next buffer. */
  | 'arm'
  /** Asks the port to report frames, and ends the turn. */
  | 'listen'
  /** Starts the stall timer unless it runs, and reads it. */
  | 'time'
  /** Drops the pending frames, so that the port can be read for other queues. */
  | 'make way'
  /** Ends the turn; the next one begins when the stall timer is due. */
  | 'wait'
  /** Drops the pending frames, and those that wait in the port. */
  | 'drop';

/** The most steps of a round: read, sort, arm, time, and one that ends the round. */
export const ROUND_STEPS_MAX = 5;

/** The state that determines the next step. `slots` is as of the last read of the ring; that read resets the last three members. */
export interface Situation {
  /** Buffers that the guest has posted and no frame has used; or RING_BROKEN. */
  readonly slots: number;
  /** How many slots the head needed when frames last waited because the guest had fewer. */
  readonly slotsWanted: number;
  /** How many slots the next pending frame takes; valid only while one is pending. */
  readonly slotsNeeded: number;
  readonly pendingFrames: number;
  /** How many frames of the batch may belong to another queue. */
  readonly unsortedFrames: number;
  /** Whether the port reported frames and was not read since. */
  readonly isOffered: boolean;
  /** See `StallTimer`. */
  readonly stalled: boolean;
  readonly lapsed: boolean;
  /** Whether the port was read and had no frame. */
  readonly isDry: boolean;
  /** Whether the guest will send an event at its next buffer. */
  readonly isArmed: boolean;
  /** Milliseconds until the stall timer is due; undefined before the step `time`. */
  readonly leftMs: number | undefined;
}

/** The state of the guest's other queues that determines the next step. */
export interface OtherQueues {
  /** Whether the guest has buffers in one of them, and no frame is pending there. */
  readonly needFrames: boolean;
  /** Whether one of them waits for room in this queue's batch. */
  readonly waitForRoom: boolean;
}

/** Returns the next step. @param others undefined if the guest does not choose the queues of its frames. */
export function nextStep(queue: Situation, others: OtherQueues | undefined): Step {
  const { slots } = queue;
  if (slots === RING_BROKEN) return 'stop';
  if (others !== undefined && queue.unsortedFrames > 0) return 'sort';
  if (queue.pendingFrames > 0) {
    if (slots > 0 && slots >= queue.slotsNeeded) return 'deliver';
  } else if (!queue.isDry) {
    // A queue without buffers reads its port only for the others.
    if (slots > 0 || others?.needFrames === true) return others?.waitForRoom === true ? 'yield' : 'read';
  } else if (slots > 0) {
    // The link of a stalled guest may be down, so that no frame arrives whose delivery would show that the guest has recovered.
    if (slots >= queue.slotsWanted) return 'recover';
    return queue.stalled && !queue.isArmed ? 'arm' : 'rest';
  }
  if (!queue.isArmed) return 'arm';
  if (queue.pendingFrames === 0 && !queue.isOffered) return 'listen';
  if (queue.leftMs === undefined) return 'time';
  // These frames have waited long enough, and frames behind them in the port may belong to another queue.
  if ((queue.pendingFrames === 0 || queue.lapsed) && others?.needFrames === true) return 'make way';
  return queue.leftMs > 0 ? 'wait' : 'drop';
}
