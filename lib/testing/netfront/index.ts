/** A frontend, and a checker of what a backend does to it: for tests, demos and benchmarks. */

export { XenbusState } from '../../protocol/xenbus.js';
export { Checker, type CheckerCounts, type CheckerOptions } from './checker.js';
export {
  CONTROL_TIMEOUT_MS,
  ControlFront,
  type ControlFrontOptions,
  type ControlResponse,
} from './control.js';
export { ALL_FEATURES, type BackendFeatures, type FrontFeatures, readBackendFeatures } from './features.js';
export { FramePort, type FramePortOptions } from './frame-port.js';
export { Generator, type GeneratorOptions } from './generator.js';
export { type HashSetUp, setHashKey, setHashMapping, setUpHash } from './hash.js';
export { HashOracle } from './hash-oracle.js';
export { ManyQueues } from './many-queues.js';
export { type CloseReason, Netfront, type NetfrontOptions, type NetfrontStats } from './netfront.js';
export { StateWatch, type UntilOptions } from './state-watch.js';
export type { DirectionStats, StatsOf } from './stats.js';
export {
  createVif,
  type RemoveOptions,
  removeVif,
  type VifOptions,
  type VifPaths,
  type VifToRemove,
} from './toolstack.js';
export { CheckerPort, GeneratorPort, type TrafficOptions, TrafficPort } from './traffic.js';
export {
  TRAFFIC_BYTES_MAX,
  TRAFFIC_BYTES_MIN,
  TRAFFIC_MTU_BYTES,
  TrafficFrames,
  type TrafficTag,
} from './traffic-frames.js';
export {
  type Direction,
  VIOLATION_KINDS,
  type Violation,
  type ViolationKind,
  Violations,
} from './violations.js';
