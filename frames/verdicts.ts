import { type Form, innerVersion } from './forms/forms.js';

/**
 * What has to become of a frame. sent: what comes out is the reference. dropped: nothing comes out, and the frame is counted as
 * dropped. either: the protocol has no word for it; it may be dropped, but what comes out must be right.
 */
export type Verdict = 'sent' | 'dropped' | 'either';

/** Linux's netfront sets csum_blank behind no tag at all (it has no vlan_features). vifd finds headers behind two. */
const TAGS_FOUND = 2;

/** Of a frame that a guest sends. As Linux's netback (checksum_setup, xenvif_set_skb_gso), but for headers of more than 256 bytes. */
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

/** Whether Linux gives up for the headers' length alone. vifd sends such a frame, however long its chain is. */
function isLegalChain({ headers }: Form): boolean {
  const legal = headers.layers.every(([name]) =>
    ['ip6', 'hbh', 'dest', 'route', 'frag', 'ah'].includes(name),
  );
  return headers.place === 'hidden' && legal;
}

/** Of a frame that a port of an embedder's own, or a hook, hands over. */
export function verdictToGuest(form: Form): Verdict {
  const { headers, protocol } = form;
  if (protocol.gso === 0) return 'sent';
  // virtio_net_hdr cannot say which of two headers a segment's length goes into, nor segment a fragment.
  if (headers.place === 'tunnel' || headers.place === 'fragment') return 'either';
  return protocol.gso === innerVersion(form) ? 'sent' : 'either';
}
