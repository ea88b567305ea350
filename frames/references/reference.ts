import { FROM_GUEST } from '../forms/forms.js';
import type { Variant } from '../forms/variants.js';
import { mark, same } from '../marks.js';
import type { Kernel } from './kernel.js';
import { arrive } from './netfront.js';
import type { Scapy } from './scapy.js';
import { GSO_NONE, vnetOf } from './vnet.js';

/** A variant, and its expected results. */
export interface Reference {
  readonly variant: Variant;
  /** The kernel's results for the variant; empty if it refuses the frame (it segments no TCP behind AH or a fragment header). */
  readonly kernel: readonly Uint8Array[];
}

/** Two references that contradict each other: one of them, or the table itself, is wrong. */
export interface Disagreement {
  readonly variant: Variant;
  readonly what: string;
  readonly expected: readonly Uint8Array[];
  readonly got: readonly Uint8Array[];
}

const EVERYTHING = { checksumV4: true, checksumV6: true, gsoV4: true, gsoV6: true, scatterGather: true };
/** Which segments of a frame scapy dissects: the first, the second and the last. */
const DISSECTED = [0, 1, -1];

/** Has the kernel complete and segment each variant and scapy dissect the result, and compares both with scapy's own frames. */
export async function refer(
  variants: readonly Variant[],
  kernel: Kernel,
  scapy: Scapy,
  onDisagreement: (disagreement: Disagreement) => void,
): Promise<Reference[]> {
  const asked = variants.map((variant, index) => {
    const frame = variant.open.slice();
    mark(frame, index);
    return { frame, vnet: vnetOf(variant) };
  });
  const judged = asked.filter((_, index) => variants[index].form.protocol.broken === undefined);
  const passed = kernel.pass(judged);
  const references = variants.map((variant, index) => ({ variant, kernel: passed.get(index) ?? [] }));
  for (const { variant, kernel: got } of references) {
    const { expected, form } = variant;
    if (form.protocol.broken !== undefined) continue;
    // The kernel cannot segment behind some chains, and does not for a type that contradicts the headers.
    const mayRefuse = vnetOf(variant).gso !== GSO_NONE;
    if (!(got.length === 0 && mayRefuse) && !allSame(expected, got))
      onDisagreement({ variant, what: 'the kernel and scapy differ', expected, got });
    const seen = modelled(variant);
    if (seen !== undefined && !allSame(expected, seen))
      onDisagreement({
        variant,
        what: "the model of Linux's netfront and scapy differ",
        expected,
        got: seen,
      });
  }
  await Promise.all(references.map((reference) => dissect(reference, scapy, onDisagreement)));
  return references;
}

/** @returns the results of Linux in a guest that gets the frame whole; undefined if vifd must not pass it on so. */
function modelled(variant: Variant): readonly Uint8Array[] | undefined {
  const { form, open, segment } = variant;
  const { protocol, headers, tags } = form;
  if (variant.direction === FROM_GUEST || headers.place !== 'found' || tags.layers.length > 0)
    return undefined;
  if (protocol.gso !== 0 && protocol.gso !== headers.version) return undefined;
  const flags = { csumBlank: protocol.open, dataValidated: true, gso: protocol.gso, segment, slots: 1 };
  const arrived = arrive({ bytes: open, ...flags }, EVERYTHING);
  return 'lost' in arrived ? [] : arrived.frames;
}

async function dissect(
  { variant, kernel }: Reference,
  scapy: Scapy,
  onDisagreement: (disagreement: Disagreement) => void,
): Promise<void> {
  const chosen = new Set(DISSECTED.map((at) => kernel.at(at)).filter((frame) => frame !== undefined));
  if (chosen.size === 0) return;
  const frames = [...chosen];
  const found = await scapy.dissect(frames);
  found.forEach(({ wrong, layers }, index) => {
    if (wrong === null) return;
    const what = `scapy, dissecting what the kernel put out (${layers}): ${wrong}`;
    onDisagreement({ variant, what, expected: [], got: [frames[index]] });
  });
}

/** The first of two lists of frames that differ: its index, and the frame of each list that has one there. */
export interface Apart {
  readonly index: number;
  readonly frames: { readonly expected?: Uint8Array; readonly got?: Uint8Array };
}

/** @returns where two lists of frames that are not all the same part. */
export function firstApart(expected: readonly Uint8Array[], got: readonly Uint8Array[]): Apart {
  const at = expected.findIndex((frame, index) => got[index] === undefined || !same(frame, got[index]));
  const index = at < 0 ? expected.length : at;
  const [first, second] = [expected[index], got[index]];
  return { index, frames: { ...(first && { expected: first }), ...(second && { got: second }) } };
}

export function allSame(one: readonly Uint8Array[], other: readonly Uint8Array[]): boolean {
  return one.length === other.length && one.every((frame, index) => same(frame, other[index]));
}
