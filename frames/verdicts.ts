import { type Form, innerVersion } from './forms/forms.js';

/**
 * The expected result for a frame. sent: that of the reference. dropped: none, and vifd counts the frame as dropped. either: the protocol
 * cannot express the frame; vifd may drop it, but a result must be right.
 */
export type Verdict = 'sent' | 'dropped' | 'either';

/** Linux's netfront sets csum_blank behind no tag at all (it has no vlan_features). vifd finds headers behind two. */
const TAGS_FOUND = 2;

/** @returns the verdict on a frame from a guest: Linux's (checksum_setup, xenvif_set_skb_gso), but for headers of more than 256 bytes. */
export function verdictFromGuest(form: Form): Verdict {
  const { headers, tags, protocol } = form;
  if (!protocol.open) return 'sent';
  if (protocol.broken !== undefined) return 'dropped';
  const isOuterUdp = headers.layers.some(([name]) => name === 'udp');
  const isFound = headers.place === 'found' || isLegalChain(form);
  if (protocol.gso !== 0) {
    if (!isFound || protocol.gso !== headers.version) return 'dropped';
  } else if (!isFound && !isOuterUdp) {
    return 'dropped';
  }
  return tags.layers.length > TAGS_FOUND ? 'either' : 'sent';
}

/** Tells whether Linux gives up only because the headers are long. vifd sends such a frame. */
function isLegalChain({ headers }: Form): boolean {
  const legal = headers.layers.every(([name]) =>
    ['ip6', 'hbh', 'dest', 'route', 'frag', 'ah'].includes(name),
  );
  return headers.place === 'hidden' && legal;
}

/** @returns the verdict on a frame to a guest, from an embedder's own port or from a hook. */
export function verdictToGuest(form: Form): Verdict {
  const { headers, protocol } = form;
  if (protocol.gso === 0) return 'sent';
  // virtio_net_hdr cannot express into which of two headers a segment's length goes, and a fragment cannot be segmented.
  if (headers.place === 'tunnel' || headers.place === 'fragment') return 'either';
  return protocol.gso === innerVersion(form) ? 'sent' : 'either';
}
