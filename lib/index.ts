/** The public API of vifd. It exports each name by itself, so that a new name of an inner file does not become public by accident. */

export { asService } from './daemon/as-service.js';
export type { JournalPages, Journals } from './durable/journal.js';
export type { JournalVersion } from './durable/layout.js';
export { VifdError, type VifdErrorCode, type VifdErrorDetails } from './errors.js';
export { journalFiles } from './host/journal-files.js';
export type { LinkSettings } from './host/links.js';
export type { DropReason, Drops, Flow, VifStats } from './netback/frames/counters.js';
export type {
  CapturedFrame,
  Direction,
  FlowHash,
  Frame,
  FrameFilter,
  FrameHeaders,
  FrameHook,
  FrameStream,
  FramesOptions,
  HashedOver,
  VifFilter,
  VifHook,
} from './netback/frames/frame.js';
export { type Redirect, redirect } from './netback/frames/redirect.js';
export {
  Netback,
  type NetbackEvents,
  type NetbackListeners,
  type NetbackOptions,
} from './netback/netback.js';
export type { Vif } from './netback/public-vif.js';
export type { RingIndices } from './netback/ring/back-ring.js';
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
export type { AttachedHow, DetachReason } from './netback/vif/vif-parts.js';
export type { VifAddress, VifId, VifInfo, VifState } from './netback/vif-info.js';
// For ports of your own, which find frames in a batch by these words.
export {
  FRAME_BYTES_MAX,
  FRAME_LENGTH,
  FRAME_OFFSET,
  FRAME_STATUS,
  FRAMES_ALIGN,
  FRAMES_END,
  FRAMES_ERRNO,
  FRAMES_MORE,
  FRAMES_PHASE,
  FRAMES_START,
  FrameBatch,
  frameAt,
} from './ports/frame-batch.js';
export { type FramePort, type FramePortOptions, type FrameReceiver, framePort } from './ports/frame-port.js';
export type { FrameOffload, Offload } from './ports/offload.js';
export { pair } from './ports/pair.js';
export type { Port, PortBatches, PortIo, PortOptions, PortTrouble, QueuePlace } from './ports/port.js';
export { tap } from './ports/public-tap.js';
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
export { type OpenXenOptions, openXen } from './xen/native/open.js';
// The seam to the hypervisor: what `openXen` returns, and the model.
export type {
  Access,
  Arena,
  BatchOptions,
  ChannelFaultListener,
  Clock,
  EventChannel,
  Events,
  GrantBatch,
  Grants,
  LastingEvents,
  Mapping,
  OwnArena,
  Permission,
  SharedPages,
  Shares,
  StagedGrants,
  Store,
  StoredEvents,
  StoredPort,
  StoreView,
  StoreWatch,
  Xen,
} from './xen/seam.js';
