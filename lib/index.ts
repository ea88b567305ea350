/** The public API of vifd. */
export { VifdError, type VifdErrorCode } from './errors.js';
export { journalFiles } from './journal-files.js';
export type { Journals } from './netback/journal.js';
export {
  Netback,
  type NetbackEvents,
  type NetbackListeners,
  type NetbackOptions,
} from './netback/netback.js';
export type { Feature } from './netback/offer.js';
export type {
  ConnectionDetails,
  Fault,
  HashDetails,
  HashTypeName,
  MulticastDetails,
  Negotiated,
  QueueDetails,
  VifDetails,
} from './netback/show.js';
export type {
  Direction,
  Flow,
  Frame,
  FrameHook,
  FrameStream,
  Offload,
  PayloadMode,
  VifAddress,
  VifHook,
  VifId,
  VifInfo,
  VifState,
  VifStats,
} from './netback/types.js';
export type { Vif } from './netback/vif.js';
export type { AttachedHow, DetachReason } from './netback/vif-parts.js';
export { pair } from './ports/pair.js';
export { tap } from './ports/tap.js';
export type { TapExpectation, TapMemory } from './ports/tap-link.js';
export type { TapOptions } from './ports/tap-options.js';
export * from './ports/types.js';
export { openXen } from './xen/native/open.js';
export type { Access, Arena, Clock, Events, Grants, Shares, Store, Xen } from './xen/types.js';
