import type { ConnectionDetails, Negotiated, QueueDetails, VifDetails } from '../netback/show.js';
import { table } from './table.js';

const INDENT = '  ';
const LABEL_WIDTH = 12;

/** A vif for people: a line of how it stands, lines of what it has, and a table of its queues. */
export function showText(vif: VifDetails): string {
  const { connection } = vif;
  const lines = [
    `${vif.id}  ${vif.state}${vif.reason === undefined ? '' : `: ${vif.reason}`}`,
    line('mac', vif.mac || '-'),
    line('bridge', vif.bridge ?? '-'),
    line('MTU', vif.mtu === undefined ? 'default' : `${vif.mtu}`),
    line('port', vif.port ?? '-'),
    ...(connection === undefined ? [] : connectionLines(connection)),
  ];
  return `${lines.join('\n')}\n${queuesText(connection?.queues ?? [])}`;
}

function connectionLines(connection: ConnectionDetails): string[] {
  const { attachedMs, resumes, payload, journal, negotiated, xdpHeadroom, rate } = connection;
  const again = resumes === 0 ? 'not resumed' : `resumed ${resumes === 1 ? 'once' : `${resumes} times`}`;
  return [
    line('attached', `${duration(attachedMs)} ago, ${again}`),
    line('payload', `by ${payload}${journal ? '' : ', without a journal'}`),
    line('guest takes', features(negotiated)),
    line('headroom', `${xdpHeadroom} bytes`),
    line(
      'rate',
      rate === undefined
        ? 'no limit'
        : `${rate.bytes} bytes in ${rate.intervalMs} ms, ${rate.leftBytes} left now`,
    ),
    ...multicastLines(connection),
    ...hashLines(connection),
  ];
}

function features(negotiated: Negotiated): string {
  const { scatterGather, gsoV4, gsoV6, checksumV4, checksumV6, rxNotify, splitChannels, controlRing } =
    negotiated;
  const versions = (v4: boolean, v6: boolean) => [v4 && 'IPv4', v6 && 'IPv6'].filter(Boolean).join(' and ');
  const parts = [
    scatterGather && 'frames of several slots',
    (gsoV4 || gsoV6) && `GSO ${versions(gsoV4, gsoV6)}`,
    (checksumV4 || checksumV6) && `partial checksums ${versions(checksumV4, checksumV6)}`,
    splitChannels ? 'split event channels' : 'one event channel',
    controlRing && 'control ring',
    !rxNotify && 'does not tell of its buffers',
  ];
  return parts.filter(Boolean).join(', ');
}

function multicastLines({ multicast }: ConnectionDetails): string[] {
  const { requested, filtering, addresses } = multicast;
  if (!requested) return [line('multicast', 'all')];
  if (!filtering) return [line('multicast', 'all, since another backend has the beginning of its list')];
  if (addresses.length === 0) return [line('multicast', 'none')];
  return addresses.map((address, i) => line(i === 0 ? 'multicast' : '', address));
}

function hashLines({ hash }: ConnectionDetails): string[] {
  if (hash === undefined) return [];
  const { algorithm, types, key, mapping } = hash;
  if (algorithm === 'none') return [line('hash', 'none')];
  const queues = mapping.length === 0 ? 'queues by remainder' : `queues by ${mapping.length} entries`;
  return [line('hash', `${algorithm} of ${types.join(', ') || 'nothing'}, ${queues}`), line('hash key', key)];
}

function line(label: string, text: string): string {
  return `${INDENT}${label.padEnd(LABEL_WIDTH)}  ${text}`;
}

function duration(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h`;
}

const COLUMNS = [
  'queue',
  'direction',
  'frames',
  'bytes',
  'filtered',
  'dropped',
  'errors',
  'req_prod',
  'rsp_prod',
  'waiting',
  'note',
] as const;

function queuesText(queues: readonly QueueDetails[]): string {
  if (queues.length === 0) return '';
  const rows = queues.flatMap((queue, index) => [
    row(queue, index, 'fromGuest', ''),
    row(queue, index, 'toGuest', note(queue)),
  ]);
  return table(COLUMNS, rows)
    .replace(/^/gm, INDENT)
    .replace(new RegExp(`${INDENT}$`), '');
}

function row(queue: QueueDetails, index: number, direction: 'fromGuest' | 'toGuest', said: string) {
  const { frames, bytes, filtered, dropped, errors } = queue.stats[direction];
  const { reqProd, reqCons, rspProd } = queue[direction];
  return {
    ...{ queue: index, direction: direction === 'fromGuest' ? 'from-guest' : 'to-guest' },
    ...{ frames, bytes, filtered, dropped, errors },
    ...{ req_prod: reqProd, rsp_prod: rspProd, waiting: (reqProd - reqCons) >>> 0, note: said },
  };
}

function note({ stalled, stagedGrants, heldFrames }: QueueDetails): string {
  const [held, staged] = [
    heldFrames > 0 && `${heldFrames} held`,
    stagedGrants > 0 && `${stagedGrants} staged`,
  ];
  return [held, staged, stalled && 'stalled'].filter(Boolean).join(', ');
}
