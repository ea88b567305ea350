import type { Sent } from './guest/from-guest.js';
import type { GuestKind } from './guest/guests.js';
import type { Delivered, ToGuestPort } from './guest/to-guest.js';
import { same } from './marks.js';
import { arrive, type FromBackend } from './references/netfront.js';
import { allSame, firstApart, type Reference } from './references/reference.js';
import { GSO_ECN, GSO_NONE, vnetOf } from './references/vnet.js';
import { verdictFromGuest, verdictToGuest } from './verdicts.js';

/** What is wrong with the result for a frame. */
export interface Wrong {
  readonly what: string;
  readonly expected?: Uint8Array;
  readonly got?: Uint8Array;
}

export function judgeFromGuest({ out, port, refused }: Sent, reference: Reference): Wrong | undefined {
  const { variant, kernel } = reference;
  const verdict = verdictFromGuest(variant.form);
  if (refused) return { what: 'the guest got an error as its response', expected: variant.frame };
  const came = port !== undefined || out.length > 0;
  if (verdict === 'dropped') {
    if (!came) return undefined;
    return {
      what: 'vifd passed it on, though its headers contradict its offload',
      ...gotOf(port?.frame ?? out[0]),
    };
  }
  if (verdict === 'either' && !came) return undefined;
  const wrong = compare(kernel, out);
  if (wrong !== undefined || kernel.length > 0 || port === undefined) return wrong;
  // The kernel puts nothing out for such a frame, so compare what vifd gave to its port.
  const expected = vnetOf(variant);
  const { flags, gso, segment, start, offset } = port.vnet;
  const isRight =
    flags === expected.flags && (gso & ~GSO_ECN) === expected.gso && segment === expected.segment;
  if (!isRight || start !== expected.start || offset !== expected.offset)
    return { what: `the port got the header ${JSON.stringify(port.vnet)}, not ${JSON.stringify(expected)}` };
  return same(port.frame, variant.open)
    ? undefined
    : { what: 'the port got other bytes', expected: variant.open, got: port.frame };
}

export function judgeToGuest(
  { received }: Delivered,
  { variant, kernel }: Reference,
  guest: GuestKind,
  port: ToGuestPort,
): Wrong | undefined {
  const got: Uint8Array[] = [];
  for (const frame of received) {
    const arrived = arrive(frame, guest.takes);
    if ('lost' in arrived)
      return { what: `the guest loses it: ${arrived.lost} (${toldOf(frame)})`, got: frame.bytes };
    got.push(...arrived.frames);
  }
  if (got.length === 0 && mayVanish(variant.form, kernel, port)) return undefined;
  return compare(variant.expected, got);
}

/** Tells whether a frame may be lost: netif cannot express it, or the host's kernel, which is in between, cannot segment it. */
function mayVanish(
  form: Reference['variant']['form'],
  kernel: readonly Uint8Array[],
  port: ToGuestPort,
): boolean {
  return (
    verdictToGuest(form) === 'either' ||
    (port === 'tap' && form.protocol.gso !== GSO_NONE && kernel.length === 0)
  );
}

function toldOf({ csumBlank, dataValidated, gso, segment, slots }: FromBackend): string {
  const flags = [csumBlank ? 'csum_blank' : '', dataValidated ? 'data_validated' : ''].filter(
    (flag) => flag !== '',
  );
  if (gso !== 0) flags.push(`GSO TCPv${gso} of ${segment}`);
  return `${flags.join(', ') || 'no flags'}, ${slots} ${slots === 1 ? 'slot' : 'slots'}`;
}

function compare(expected: readonly Uint8Array[], got: readonly Uint8Array[]): Wrong | undefined {
  if (allSame(expected, got)) return undefined;
  const { index, frames } = firstApart(expected, got);
  const what =
    expected.length === got.length
      ? `frame ${index + 1} of ${expected.length} differs`
      : `${got.length} frames came, not ${expected.length}; the first that differs is number ${index + 1}`;
  return { what, ...frames };
}

function gotOf(frame: Uint8Array | undefined): { got?: Uint8Array } {
  return frame === undefined ? {} : { got: frame };
}
