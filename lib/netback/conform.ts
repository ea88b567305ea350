import type { FrameBatch } from '../ports/types.js';
import * as ports from '../ports/types.js';
import { completeChecksum, networkHeader } from '../protocol/checksum.js';
import { GSO_TYPE_NONE, GSO_TYPE_TCPV4 } from '../protocol/netif.js';
import type { FlowCounters } from './counters.js';
import type { FrontendSettings } from './handshake.js';
import { rxGsoOf, vnetWord, writeVnet } from './offload.js';

const { FRAME_LENGTH, FRAME_OFFSET, FRAME_WORDS, FRAMES_HEADER_WORDS } = ports;
const { VNET_FLAG_DATA_VALID, VNET_FLAG_NEEDS_CSUM } = ports;

const ETHERTYPE_IPV6 = 0x86dd;

/** What a guest takes of what its backend could leave to it. */
export interface Takes {
  readonly checksumV4: boolean;
  readonly checksumV6: boolean;
  readonly gsoV4: boolean;
  readonly gsoV6: boolean;
}

/** The guest's capabilities that frames are made to fit. */
export interface GuestCapabilities {
  readonly scatterGather: boolean;
  readonly conform: Conform;
  /** Bytes that it wants free at the beginning of each page, for its XDP programs. It changes its mind while connected. */
  xdpHeadroom: number;
}

/** A segmented frame has several slots and a partial checksum: who does not take these does not take it either. */
export function takesOf(settings: FrontendSettings): Takes {
  const { scatterGather, checksumV4, checksumV6, gsoV4, gsoV6 } = settings;
  return {
    checksumV4,
    checksumV6,
    gsoV4: gsoV4 && scatterGather && checksumV4,
    gsoV6: gsoV6 && scatterGather && checksumV6,
  };
}

/**
 * Makes frames such as the guest can take. Its port was told what that is, and a tap or a pair does it; a port of somebody's
 * own, or a hook, may not: a checksum is completed here then, and a frame that had to be segmented is dropped.
 */
export class Conform {
  /** There is something that the guest does not take. */
  readonly active: boolean;
  readonly #takes: Takes;

  constructor(takes: Takes) {
    this.#takes = takes;
    this.active = !(takes.checksumV4 && takes.checksumV6 && takes.gsoV4 && takes.gsoV6);
  }

  run(frames: FrameBatch, counters: FlowCounters): void {
    const { block, count, arena } = frames;
    const words = arena.u32;
    for (let i = 0; i < count; i++) {
      const at = FRAMES_HEADER_WORDS + i * FRAME_WORDS;
      const bytes = block[at + FRAME_LENGTH];
      if (bytes === 0) continue;
      const offset = block[at + FRAME_OFFSET];
      const gso = rxGsoOf(words, offset);
      if (gso !== GSO_TYPE_NONE) {
        if (this.#takesGso(gso)) continue;
        block[at + FRAME_LENGTH] = 0;
        counters.dropped++;
      } else if ((vnetWord(words, offset, 0) & VNET_FLAG_NEEDS_CSUM) !== 0) {
        if (!this.#takesChecksum(arena.bytes, offset, bytes)) complete(frames, offset, bytes);
      }
    }
  }

  #takesGso(gso: number): boolean {
    return (gso & 0xffff) === GSO_TYPE_TCPV4 ? this.#takes.gsoV4 : this.#takes.gsoV6;
  }

  #takesChecksum(bytes: Uint8Array, offset: number, length: number): boolean {
    const type = networkHeader(bytes, offset, length) >>> 16;
    return type === ETHERTYPE_IPV6 ? this.#takes.checksumV6 : this.#takes.checksumV4;
  }
}

function complete({ arena }: FrameBatch, offset: number, length: number): void {
  const words = arena.u32;
  const csumStart = vnetWord(words, offset, 1) >>> 16;
  const csumOffset = vnetWord(words, offset, 2) & 0xffff;
  completeChecksum(arena.bytes, offset, length, csumStart, csumOffset);
  writeVnet(words, offset, VNET_FLAG_DATA_VALID, 0, 0);
}
