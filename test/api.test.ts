import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type PublicNames, publicNames } from './public-names.js';

const DECLARATIONS = 'dist/index.d.ts';

/** The names that users may rely on, written by hand: a change here is a change of the API, which the changelog reports. */
const PUBLIC: Readonly<Record<string, string>> = {
  // A netback and its vifs.
  'class Netback extends EventEmitter<NetbackEvents> implements AsyncDisposable':
    '[Symbol.asyncDispose] faults forget look static open vifs',
  'interface NetbackOptions':
    'accept filter hook journalVersion journals payload port queues removeLeftPort runtimeDirectory signal without xen',
  'function asService': '',
  'interface NetbackEvents': 'attached detached error gone mended recovered',
  'type NetbackListeners': '',
  'interface Vif extends VifInfo, FrameReceiver':
    'close faults filter frames hook port queueStats reason send setCarrier show state stats',
  'interface VifInfo extends VifAddress': 'bridge mac mtu',
  'interface VifAddress': 'domid handle id',
  'type VifId': '',
  'type VifState': '',
  'type PayloadMode': '',
  'type Feature': '',
  'interface AttachedHow': 'attachMs resumed',
  'type DetachReason': '',
  'interface Flow': 'batches bytes dropped drops errors filtered frames hookErrors',
  'type DropReason': '',
  'type Drops': '',
  'interface VifStats': 'fromGuest stalls toGuest',
  // Vif.show().
  'interface VifDetails extends VifInfo': 'connection faults link port portDropped reason state stats',
  'interface ConnectionDetails':
    'attachedMs hash journal multicast negotiated payload queues rate resumes xdpHeadroom',
  'interface Fault': 'code message',
  'interface HashDetails': 'algorithm key mapping types',
  'type HashTypeName': '',
  'interface MulticastDetails': 'addresses filtering requested',
  'interface Negotiated':
    'checksumV4 checksumV6 controlRing gsoV4 gsoV6 rxNotify scatterGather splitChannels',
  'interface QueueDetails':
    'fromGuest pendingFrames rxPort rxRingRef stagedGrants stalled stats toGuest txPort txRingRef',
  'interface RingIndices': 'reqCons reqEvent reqProd rspEvent rspProd size',
  // Hooks and streams of frames.
  'interface Frame': 'bytes copy hash offload',
  'interface FrameHeaders extends Offload': 'i32 length readable u16 u32 u8',
  'interface Offload': 'csumOffset csumStart gsoSize gsoType',
  'interface FrameOffload extends Offload': 'validated',
  'function framePort': '',
  'function redirect': '',
  'class Redirect': 'constructor send static is',
  'interface FramePort extends Port, FrameReceiver': 'dropped',
  'interface FramePortOptions': 'name offloads onFrame',
  'interface FrameReceiver': 'send',
  'interface FlowHash': 'over value',
  'type HashedOver': '',
  'type Direction': '',
  'type FrameFilter': '',
  'type FrameHook': '',
  'type VifFilter': '',
  'type VifHook': '',
  'interface FrameStream extends AsyncIterableIterator<CapturedFrame>, AsyncDisposable': 'missed',
  'interface CapturedFrame extends Frame': 'direction timeMs',
  'interface FramesOptions': 'direction limit signal',
  // Errors and journals.
  'class VifdError extends Error': 'code constructor errno vif',
  'interface VifdErrorDetails': 'cause errno vif',
  'type VifdErrorCode': '',
  'function journalFiles': '',
  'interface Journals': 'names open remove replace',
  'interface JournalPages': 'bytes close lost',
  'type JournalVersion': '',
  // Ports.
  'function pair': '',
  'function tap': '',
  'interface TapOptions':
    'alias bridge bridgeIfNone descriptors expects ifMade mac memory mtu multiQueue name onClosed onOpened onShortQueues ' +
    'persist portFlags up',
  'interface TapMemory': 'bridge bridgeDeleted features settings wasUp',
  'type TapExpectation': '',
  'interface LinkSettings': 'bridge mac mtu name port up',
  // For a port of a user's own.
  'interface Port extends AsyncDisposable':
    'dropped follow name open queuesMax remove setCarrier writesMapped',
  'interface PortBatches': 'mapped reads writes',
  'interface PortIo': 'close read wantReadable write',
  'interface PortOptions': 'checksumV4 checksumV6 gsoV4 gsoV6 onReadable queue resumed',
  'interface PortTrouble': 'error lost',
  'interface QueuePlace': 'count index',
  'class FrameBatch': 'arena block capacity constructor count static words',
  'function frameAt': '',
  'const FRAME_BYTES_MAX': '',
  'const FRAME_LENGTH': '',
  'const FRAME_OFFSET': '',
  'const FRAME_STATUS': '',
  'const FRAMES_ALIGN': '',
  'const FRAMES_END': '',
  'const FRAMES_ERRNO': '',
  'const FRAMES_MORE': '',
  'const FRAMES_PHASE': '',
  'const FRAMES_START': '',
  'const VNET_FLAG_DATA_VALID': '',
  'const VNET_FLAG_NEEDS_CSUM': '',
  'const VNET_GSO_ECN': '',
  'const VNET_GSO_NONE': '',
  'const VNET_GSO_TCPV4': '',
  'const VNET_GSO_TCPV6': '',
  'const VNET_GSO_UDP_L4': '',
  'const VNET_HEADER_BYTES': '',
  // The hypervisor.
  'function openXen': '',
  'interface OpenXenOptions': 'domid libraries onStoreSilent signal store storePath',
  'interface Xen extends AsyncDisposable':
    'clock domainExists domid events grants journals openLastingEvents shares step store whenEnded',
  'interface Arena': 'bytes u32',
  'interface OwnArena extends Arena, Disposable': '',
  'interface Grants': 'arena batch map staged',
  'type Access': '',
  'interface BatchOptions': 'arena capacity domid staged',
  'interface GrantBatch extends Disposable':
    'capacity copyFromGuest copyToGuest mapFromGuest mapToGuest ops unmap',
  'interface Mapping extends Disposable': 'mapped page unmap',
  'interface StagedGrants extends Disposable': 'add remove size',
  'interface Shares': 'allocate',
  'interface SharedPages extends Arena, Disposable': 'end grant pages',
  'interface Events': 'bind bindUnbound',
  'interface LastingEvents extends Events, Disposable': '[Symbol.dispose] bind stored',
  'interface StoredEvents': 'descriptor ports',
  'interface StoredPort': 'domid port remotePort',
  'type ChannelFaultListener': '',
  'interface EventChannel extends Disposable': 'close notify port unmask',
  'interface Store extends StoreView, AsyncDisposable': 'onConnection transaction watch',
  'interface StoreView': 'getPermissions list mkdir read readAll rm setPermissions write',
  'interface StoreWatch extends AsyncDisposable': 'close',
  'interface Permission': 'access domid',
  'interface Clock': 'after now',
};

const joined = ({ names }: PublicNames) =>
  Object.fromEntries(Object.entries(names).map(([name, members]) => [name, members.join(' ')]));

// Built by `npm run build`; `npm test` builds first.
describe.skipIf(!existsSync(DECLARATIONS))('what a program finds that imports vifd', () => {
  const found = existsSync(DECLARATIONS)
    ? publicNames(DECLARATIONS)
    : { names: {}, leaks: [], undocumented: [] };

  it('is what users may rely on, and nothing else', () => {
    expect(joined(found)).toEqual(PUBLIC);
  });

  it('can be named: no public declaration has a type that is not exported', () => {
    expect(found.leaks).toEqual([]);
  });
});

describe('the reader of declarations', () => {
  /** Reads a package of these files. */
  function read(files: Record<string, string>): PublicNames {
    const folder = mkdtempSync(join(tmpdir(), 'vifd-api-'));
    try {
      for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
      return publicNames(join(folder, 'index.d.ts'));
    } finally {
      rmSync(folder, { recursive: true });
    }
  }

  it('finds types that are not exported: as a base, a parameter, a result, a type argument, or within an object', () => {
    const inner = ['A', 'B', 'C', 'D', 'E', 'Fine'].map((name) => `export interface ${name} { x: number }`);
    const { names, leaks } = read({
      'inner.d.ts': inner.join('\n'),
      'index.d.ts':
        "import type { A, B, C, D, E, Fine } from './inner.js';\nexport type { Fine } from './inner.js';\n" +
        'export interface Base extends A { fine: Fine }\nexport declare function take(b: B): C;\n' +
        "export declare class Held {\n  #private;\n  private constructor();\n  get held(): Map<string, D>;\n  show(): { e: E; other: import('./inner.js').A };\n}\n",
    });
    expect(leaks).toEqual(['A in Base', 'A in Held', 'B in take', 'C in take', 'D in Held', 'E in Held']);
    expect(names).toEqual({
      'interface Fine': ['x'],
      'interface Base extends A': ['fine'],
      'function take': [],
      'class Held': ['held', 'show'],
    });
  });

  it('finds names and members without a doc comment, unless an exported base has one', () => {
    const { undocumented } = read({
      'index.d.ts':
        '/** A base. */\nexport interface Base {\n  /** Its x. */\n  x: number;\n  y: number;\n}\n' +
        '// No doc comment.\nexport declare class Made implements Base, Disposable {\n  x: number;\n  y: number;\n  /** The z. */\n  z(): void;\n' +
        '  [Symbol.dispose](): void;\n}\n/** A constant. */\nexport declare const ONE = 1;\nexport declare const TWO = 2;\n',
    });
    expect(undocumented).toEqual(['Base.y', 'Made', 'Made.y', 'TWO']);
  });
});
