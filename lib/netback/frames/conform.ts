import type { FrameBatch } from '../../ports/frame-batch.js';
import * as batch from '../../ports/frame-batch.js';
import * as checksum from '../../protocol/checksum.js';
import * as headers from '../../protocol/headers.js';
import * as netif from '../../protocol/netif.js';
import { Segments } from '../../protocol/segment.js';
import * as vnet from '../../protocol/vnet.js';
import type { FrontendSettings } from '../settings.js';
import type { FlowCounters } from './counters.js';
import type { ReadFrames } from './deliverable.js';
import * as offload from './offload-to-guest.js';
import { planOf } from './segment-plan.js';

// A module's own constants are part of the compiled code; what it imports is loaded and checked at each use.
const { FRAME_LENGTH, FRAME_OFFSET, FRAME_WORDS, FRAMES_HEADER_WORDS } = batch;
const { VNET_FLAG_DATA_VALID, VNET_FLAG_NEEDS_CSUM, VNET_GSO_NONE } = vnet;
const { VNET_GSO_TCPV4, VNET_GSO_TCPV6 } = vnet;
const { vnetChecksum, vnetCsumOffset, vnetCsumStart, vnetGsoBytes, vnetGsoType, vnetWord, writeVnet } = vnet;
const { RX_FLAG_DATA_VALIDATED } = netif;
const { completeChecksum, locateAsNetfront, locateUsualChecksum, tcpHeaderEnd } = checksum;
const { TCP_CHECKSUM_OFFSET } = headers;
const { rxFlagsOf, rxGsoOf } = offload;

/** The first byte of the IP header of an untagged frame; its high half is the version. */
const VERSION_AT = 14;
/**
 * The most segments of a frame, to bound the cost of a segment size of a few bytes. Linux's TCP sends at least 48 bytes (TCP_MIN_SND_MSS).
 */
export const SEGMENTS_MAX = 2048;

/** Which GSO frames and partial checksums a guest can take. */
export interface GuestOffloads {
  readonly checksumV4: boolean;
  readonly checksumV6: boolean;
  readonly gsoV4: boolean;
  readonly gsoV6: boolean;
}

/** The guest's capabilities; frames are changed to fit them. */
export interface GuestCapabilities {
  readonly scatterGather: boolean;
  readonly conform: Conform;
  /** Bytes that the guest wants free at the beginning of each page, for its XDP programs. It may change this while it is connected. */
  xdpHeadroom: number;
}

/** Returns what a guest can take. A GSO frame has several slots and a partial checksum, so a guest must be able to take both. */
export function guestOffloads(settings: FrontendSettings): GuestOffloads {
  const { scatterGather, checksumV4, checksumV6, gsoV4, gsoV6 } = settings;
  return {
    checksumV4,
    checksumV6,
    gsoV4: gsoV4 && scatterGather && checksumV4,
    gsoV6: gsoV6 && scatterGather && checksumV6,
  };
}

/**
 * Changes frames that were read so that netif can express them and the guest can take them. netif has no csum_start: a frontend
 * finds the checksum by itself, and drops a frame in which it finds none. So a partial checksum or GSO goes to the guest only if
 * csum_start names the TCP or UDP header that Linux's netfront finds. `run` completes all other checksums, and marks all other GSO
 * frames for delivery as segments (`CutFrames`), whatever port or hook they come from.
 */
export class Conform {
  readonly #offloads: GuestOffloads;
  readonly #segments = new Segments();

  constructor(offloads: GuestOffloads) {
    this.#offloads = offloads;
  }

  /** Whether the guest can take a partial checksum of TCP or UDP over IPv4. */
  get takesUsualChecksums(): boolean {
    return this.#offloads.checksumV4;
  }

  /** Runs once for each frame that was read, and decodes its offload. */
  run(read: ReadFrames, counters: FlowCounters): void {
    const { frames, flags } = read;
    const { block, count, arena } = frames;
    const words = arena.u32;
    for (let i = 0; i < count; i++) {
      const at = FRAMES_HEADER_WORDS + i * FRAME_WORDS;
      const bytes = block[at + FRAME_LENGTH];
      if (bytes === 0) continue;
      const offset = block[at + FRAME_OFFSET];
      const first = vnetWord(words, offset, 0);
      const kind = vnetGsoType(first);
      flags[i] = rxFlagsOf(first);
      if (kind === VNET_GSO_NONE) {
        if ((first & VNET_FLAG_NEEDS_CSUM) === 0) continue;
        if (this.#takesChecksum(frames, offset, bytes)) continue;
        flags[i] = RX_FLAG_DATA_VALIDATED;
        if (complete(frames, offset, bytes)) continue;
      } else {
        if (this.#takesGso(frames, offset, bytes, kind)) {
          read.segment(i, rxGsoOf(first, vnetWord(words, offset, 1)));
          continue;
        }
        if (this.#canCut(frames, offset, bytes)) {
          read.cut(i);
          continue;
        }
      }
      // The frame's headers contradict its offload.
      block[at + FRAME_LENGTH] = 0;
      counters.drop('offload');
    }
  }

  #takesChecksum(frames: FrameBatch, offset: number, bytes: number): boolean {
    if (locate(frames, offset, bytes) !== placeOf(frames, offset)) return false;
    return isIpv6(frames, offset) ? this.#offloads.checksumV6 : this.#offloads.checksumV4;
  }

  /**
   * Whether the guest can take a GSO frame whole. `kind` must be one of netif's, without VNET_GSO_ECN: that bit means that only
   * the first segment has CWR (linux/virtio_net.h), and a guest that does not know the bit may repeat CWR in each segment.
   */
  #takesGso(frames: FrameBatch, offset: number, bytes: number, kind: number): boolean {
    const { arena } = frames;
    const { gsoV4, gsoV6 } = this.#offloads;
    if (!((kind === VNET_GSO_TCPV4 && gsoV4) || (kind === VNET_GSO_TCPV6 && gsoV6))) return false;
    if (vnetGsoBytes(vnetWord(arena.u32, offset, 1)) === 0) return false;
    const where = locate(frames, offset, bytes);
    if (where >>> 16 !== TCP_CHECKSUM_OFFSET || isIpv6(frames, offset) !== (kind === VNET_GSO_TCPV6))
      return false;
    // For a GSO frame with a complete checksum, netfront computes the partial one itself.
    const isPartial = (vnetWord(arena.u32, offset, 0) & VNET_FLAG_NEEDS_CSUM) !== 0;
    if (isPartial && where !== placeOf(frames, offset)) return false;
    return tcpHeaderEnd(arena.bytes, offset, bytes, where & 0xffff) !== 0;
  }

  #canCut({ arena }: FrameBatch, offset: number, bytes: number): boolean {
    return planOf(this.#segments, arena, offset, bytes) && this.#segments.count <= SEGMENTS_MAX;
  }
}

/** @returns where a frontend finds the checksum: csumStart | csumOffset << 16, or 0. */
function locate({ arena }: FrameBatch, offset: number, bytes: number): number {
  return (
    (offset % 4 === 0 && locateUsualChecksum(arena.u32, offset, bytes)) ||
    locateAsNetfront(arena.bytes, offset, bytes)
  );
}

/** @returns where the vnet header has the checksum: csumStart | csumOffset << 16. */
function placeOf({ arena }: FrameBatch, offset: number): number {
  return vnetChecksum(vnetWord(arena.u32, offset, 1), vnetWord(arena.u32, offset, 2));
}

/** Whether a frame whose checksum a frontend finds is IPv6. */
function isIpv6({ arena }: FrameBatch, offset: number): boolean {
  return arena.bytes[offset + VERSION_AT] >>> 4 === 6;
}

/** Completes the checksum. @returns false if the checksum's place is outside of the frame. */
function complete({ arena }: FrameBatch, offset: number, length: number): boolean {
  const words = arena.u32;
  const csumStart = vnetCsumStart(vnetWord(words, offset, 1));
  const csumOffset = vnetCsumOffset(vnetWord(words, offset, 2));
  if (!completeChecksum(arena.bytes, offset, length, csumStart, csumOffset)) return false;
  writeVnet(words, offset, VNET_FLAG_DATA_VALID, 0, 0);
  return true;
}
