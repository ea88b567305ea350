/** The public API of vifd. */

export type { Journals } from './durable/journal.js';
export { VifdError, type VifdErrorCode } from './errors.js';
export { journalFiles } from './host/journal-files.js';
export type { Flow, VifStats } from './netback/frames/counters.js';
export type { Direction, Frame, FrameHook, FrameStream, Offload, VifHook } from './netback/frames/frame.js';
export {
  Netback,
  type NetbackEvents,
  type NetbackListeners,
  type NetbackOptions,
} from './netback/netback.js';
export type { PayloadMode } from './netback/settings.js';
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
export type { Feature } from './netback/vif/offer.js';
export type { Vif } from './netback/vif/vif.js';
export type { AttachedHow, DetachReason } from './netback/vif/vif-parts.js';
export type { VifAddress, VifId, VifInfo, VifState } from './netback/vif-info.js';
export * from './ports/frame-batch.js';
export { pair } from './ports/pair.js';
export * from './ports/port.js';
export { tap } from './ports/tap.js';
export type { TapExpectation, TapMemory } from './ports/tap-link.js';
export type { TapOptions } from './ports/tap-options.js';
export {
  VNET_FLAG_DATA_VALID,
  VNET_FLAG_NEEDS_CSUM,
  VNET_GSO_ECN,
  VNET_GSO_NONE,
  VNET_GSO_TCPV4,
  VNET_GSO_TCPV6,
  VNET_GSO_UDP_L4,
  VNET_HEADER_BYTES,
} from './protocol/vnet.js';
export { openXen } from './xen/native/open.js';
export type { Access, Arena, Clock, Events, Grants, Shares, Store, Xen } from './xen/seam.js';
