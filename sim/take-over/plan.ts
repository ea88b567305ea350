import type { Scenario } from '../scenario.js';

/**
 * How the supervisor notices that a worker is killed. mark: by the page that it shares with the worker, before the worker's link ends. link: by
 * the end of the link. claim: the worker's page claims it, and the worker runs until the supervisor kills it.
 */
export type Sign = 'mark' | 'link' | 'claim';

/** When a worker is killed. */
export interface WorkerEnd {
  /** The worker's own step. */
  readonly atStep: number;
  readonly sign: Sign;
}

/** A wrong order of a take-over, which the simulation must find. */
export type WrongTakeOver =
  | 'ignores the event of the take-over'
  | 'does not unmask the event channels'
  | 'serves before the fence'
  | 'keeps the channels that the next worker got';

/** Everything that a run with workers depends on. */
export interface TakeOverPlan {
  /** Its processes are none: workers take their place. */
  readonly scenario: Scenario;
  /** By the number of the worker, in the order in which their processes start; the others run until the end. */
  readonly workers: readonly WorkerEnd[];
  /** The supervisor's own step at which it is killed; the next one starts a little later. Undefined: it is not. */
  readonly supervisorAtStep?: number;
  readonly wrong?: WrongTakeOver;
}
