import type { DurableWords, ReadonlyWords } from '../../durable/durable-words.js';
import { NEGOTIATED } from '../../durable/layout.js';
import { type FrontendSettings, QUEUES_MAX, type QueueSettings, XDP_HEADROOM_MAX } from '../settings.js';

const { queues: QUEUES, features: FEATURES, xdpHeadroom: XDP_HEADROOM } = NEGOTIATED.at;
const { controlRingRef: CONTROL_RING_REF, controlPort: CONTROL_PORT, rings: RINGS } = NEGOTIATED.at;
/** The words of a queue's rings and ports, in the order of the layout. */
const RING_WORDS = (NEGOTIATED.words - RINGS) / QUEUES_MAX;

/** Each name is a bit of `features`; the first one is bit 0. Add a new name at the end. */
const FEATURE_NAMES = [
  'scatterGather',
  'gsoV4',
  'gsoV6',
  'checksumV4',
  'checksumV6',
  'rxNotify',
  'multicastControl',
] as const satisfies readonly (keyof FrontendSettings)[];
/** Set if the guest has a control ring. */
const CONTROL_BIT = 1 << 31;

/**
 * Records what a connection negotiated, unless that is recorded already. The number of queues is stored last: after a kill before that store
 * nothing is recorded.
 */
export function recordNegotiated(words: DurableWords, settings: FrontendSettings): void {
  const wanted = wordsOf(settings);
  if (wanted.every((word, at) => words.view[at] === word)) return;
  words.commit(QUEUES, 0);
  for (const [at, word] of wanted.entries())
    if (at !== QUEUES && words.view[at] !== word) words.store(at, word);
  words.commit(QUEUES, settings.queues.length);
}

/** @returns the recorded settings; undefined if nothing is recorded, or if no connection can negotiate these settings. */
export function recordedNegotiated({ view }: DurableWords): FrontendSettings | undefined {
  const count = view[QUEUES];
  if (count === 0 || count > QUEUES_MAX || view[XDP_HEADROOM] > XDP_HEADROOM_MAX) return undefined;
  const features = view[FEATURES];
  const known = FEATURE_NAMES.reduce((bits, _name, bit) => bits | (1 << bit), CONTROL_BIT);
  if ((features & ~known) !== 0) return undefined;
  const has = (name: (typeof FEATURE_NAMES)[number]) =>
    ((features >>> FEATURE_NAMES.indexOf(name)) & 1) === 1;
  return {
    queues: Array.from({ length: count }, (_, queue) => ringsIn(view, queue)),
    scatterGather: has('scatterGather'),
    gsoV4: has('gsoV4'),
    gsoV6: has('gsoV6'),
    checksumV4: has('checksumV4'),
    checksumV6: has('checksumV6'),
    rxNotify: has('rxNotify'),
    multicastControl: has('multicastControl'),
    xdpHeadroom: view[XDP_HEADROOM],
    control:
      (features & CONTROL_BIT) === 0
        ? undefined
        : { ringRef: view[CONTROL_RING_REF], port: view[CONTROL_PORT] },
  };
}

/** Whether two settings differ at most in what a guest may change while it is connected. */
export function isSameNegotiated(one: FrontendSettings, other: FrontendSettings): boolean {
  const fixed = (settings: FrontendSettings) =>
    wordsOf({ ...settings, multicastControl: false, xdpHeadroom: 0 });
  const others = fixed(other);
  return fixed(one).every((word, at) => word === others[at]);
}

function ringsIn(view: ReadonlyWords, queue: number): QueueSettings {
  const at = RINGS + queue * RING_WORDS;
  return { txRingRef: view[at], rxRingRef: view[at + 1], txPort: view[at + 2], rxPort: view[at + 3] };
}

function wordsOf(settings: FrontendSettings): Uint32Array {
  const { queues, xdpHeadroom, control } = settings;
  const words = new Uint32Array(NEGOTIATED.words);
  words[QUEUES] = queues.length;
  words[XDP_HEADROOM] = xdpHeadroom;
  words[CONTROL_RING_REF] = control?.ringRef ?? 0;
  words[CONTROL_PORT] = control?.port ?? 0;
  for (const [bit, name] of FEATURE_NAMES.entries()) if (settings[name]) words[FEATURES] |= 1 << bit;
  if (control !== undefined) words[FEATURES] |= CONTROL_BIT;
  for (const [queue, { txRingRef, rxRingRef, txPort, rxPort }] of queues.entries())
    words.set([txRingRef, rxRingRef, txPort, rxPort], RINGS + queue * RING_WORDS);
  return words;
}
