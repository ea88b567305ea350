import type { DaemonDetails, ProcessDetails, ServedDetails } from '../daemon/details-json.js';
import { DROP_REASONS, type Flow } from '../netback/frames/counters.js';
import type { ConnectionDetails, Negotiated, QueueDetails, VifDetails } from '../netback/show.js';
import { printable, shown } from '../text.js';
import { table } from './table.js';

const INDENT = '  ';
const LABEL_WIDTH = 12;
const MESSAGE_MAX = 1000;

/** Returns the faults that belong to no vif, the processes where there are several, and then each vif, as text. */
export function showAllText({ faults, processes, vifs }: DaemonDetails): string {
  const wrong = faults.map(({ message }) => `${textOf(message)}\n`).join('');
  const parts = vifs.length === 0 ? ['no vifs\n'] : vifs.map(showText);
  return `${wrong}${[...(processes === undefined ? [] : [processesText(processes)]), ...parts].join('\n')}`;
}

function processesText(processes: readonly ProcessDetails[]): string {
  const rows = processes.map(({ role, pid, memoryBytes, load, vifs }) => ({
    ...{ process: pid, role },
    memory: memoryBytes === undefined ? '-' : `${(memoryBytes / (1 << 20)).toFixed(1)} MiB`,
    cpu: `${(load * 100).toFixed(0)} %`,
    vifs: vifs.length === 0 ? '-' : vifs.join(' '),
  }));
  return table(['process', 'role', 'memory', 'cpu', 'vifs'], rows);
}

/** Returns a vif as text for people: a line with its state, lines with its details, and a table of its queues. */
export function showText(vif: ServedDetails): string {
  const { connection, worker, parked } = vif;
  const lines = [
    `${vif.id}  ${vif.state}${vif.reason === undefined ? '' : `: ${textOf(vif.reason)}`}`,
    line('mac', vif.mac === '' ? '-' : shown(vif.mac)),
    line('bridge', vif.bridge === undefined ? '-' : shown(vif.bridge)),
    line('MTU', vif.mtu === undefined ? 'default' : `${vif.mtu}`),
    line('port', portText(vif)),
    ...(worker === undefined ? [] : [line('worker', `process ${worker.pid}`)]),
    ...(parked === undefined ? [] : [line('parked', `tried again in ${duration(parked.retryMs)}`)]),
    ...dropLines(vif),
    ...faultLines(vif),
    ...(connection === undefined ? [] : connectionLines(connection)),
  ];
  return `${lines.join('\n')}\n${queuesText(connection?.queues ?? [])}`;
}

function portText({ port, link, portDropped }: VifDetails): string {
  const lost = `dropped ${portDropped} frames to the guest before they were read`;
  const parts = [port === undefined ? '-' : shown(port), link && `link ${link}`, portDropped > 0 && lost];
  return parts.filter(Boolean).join(', ');
}

/** Returns a line for each direction that has dropped frames: how many, by reason. */
function dropLines({ stats }: VifDetails): string[] {
  const lines = [reasonsText('from-guest', stats.fromGuest), reasonsText('to-guest', stats.toGuest)];
  return lines.filter((text) => text !== '').map((text, i) => line(i === 0 ? 'dropped' : '', text));
}

function reasonsText(direction: string, { drops }: Flow): string {
  const counted = DROP_REASONS.filter((reason) => drops[reason] > 0);
  const reasons = counted.map((reason) => `${reason} ${drops[reason]}`).join(', ');
  return reasons === '' ? '' : `${direction}: ${reasons}`;
}

/** Returns the present faults, without the one that the vif's first line may have already. */
function faultLines({ faults, reason }: VifDetails): string[] {
  const others = faults.filter(({ message }) => message !== reason);
  return others.map(({ message }, i) => line(i === 0 ? 'faults' : '', textOf(message)));
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
    !rxNotify && 'sends no events for buffers',
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

/** Returns a message in one line, shortened. */
function textOf(message: string): string {
  const text = printable(message);
  return text.length <= MESSAGE_MAX ? text : `${text.slice(0, MESSAGE_MAX)}…`;
}

export function duration(ms: number): string {
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
    row(queue, index, 'fromGuest', hookErrors(queue.stats.fromGuest)),
    row(queue, index, 'toGuest', note(queue)),
  ]);
  return table(COLUMNS, rows)
    .replace(/^/gm, INDENT)
    .replace(new RegExp(`${INDENT}$`), '');
}

function row(queue: QueueDetails, index: number, direction: 'fromGuest' | 'toGuest', notes: string) {
  const { frames, bytes, filtered, dropped, errors } = queue.stats[direction];
  const { reqProd, reqCons, rspProd } = queue[direction];
  return {
    ...{ queue: index, direction: direction === 'fromGuest' ? 'from-guest' : 'to-guest' },
    ...{ frames, bytes, filtered, dropped, errors },
    ...{ req_prod: reqProd, rsp_prod: rspProd, waiting: (reqProd - reqCons) >>> 0, note: notes },
  };
}

function hookErrors({ hookErrors: frames }: Flow): string {
  return frames > 0 ? `${frames} hook errors` : '';
}

function note({ stalled, stagedGrants, pendingFrames, stats }: QueueDetails): string {
  const [pending, staged, stalls] = [
    pendingFrames > 0 && `${pendingFrames} pending`,
    stagedGrants > 0 && `${stagedGrants} staged`,
    stats.stalls > 0 && `${stats.stalls} ${stats.stalls === 1 ? 'stall' : 'stalls'}`,
  ];
  const notes = [pending, staged, stalled && 'stalled', stalls, hookErrors(stats.toGuest)];
  return notes.filter(Boolean).join(', ');
}
