import { BATCH_SLOTS, TO_GUEST_FRAMES } from '../lib/netback/frames/batch-memory.js';
import type { Complaint, ProcessRecord, Run } from './run.js';
import type { Scenario } from './scenario.js';
import type { SimGuest } from './sim-guest.js';
import type { Stream } from './stream.js';

export interface Outcome {
  /** The broken promises; empty if there are none. */
  readonly faults: readonly string[];
  /** Steps that the last process took. */
  readonly steps: number;
  /** The step of the last process after which it had attached to the first guest. */
  readonly attachStep: number;
  /** How many processes were killed in the middle of their work. */
  readonly kills: number;
  /** Processes that ended in order. */
  readonly stops: number;
  /** How many frames came, in both directions. */
  readonly frames: number;
  /** The most repeated frames after one kill. */
  readonly repeated: { readonly fromGuest: number; readonly toGuest: number };
  /** The lost frames of all processes. To the guest, where a kill may lose frames. */
  readonly lost: { readonly fromGuest: number; readonly toGuest: number };
  /** Of the lost frames to the guest, those for which a queue that it chose had no room, according to the counters. */
  readonly dropped: number;
  readonly trace: readonly string[];
}

/** Steps of a process from a read of its port until the frames are recorded in the journal (lib/netback/queue/pending-frames.ts). */
const RECORD_STEPS = 5;

/** What happened in a run. */
export interface Happened extends Pick<Run, 'scenario' | 'trace'> {
  readonly guests: readonly SimGuest[];
  readonly processes: readonly ProcessRecord[];
  readonly complaints: readonly Complaint[];
  readonly faults: readonly string[];
}

/** Compares the events of a run with the promises of vifd. */
export function judge(run: Happened): Outcome {
  const { processes, guests, scenario } = run;
  const faults = [...run.faults, ...judgeComplaints(run)];
  for (const guest of guests) faults.push(...judgeGuest(guest, processes, scenario));
  const fromGuest = guests.flatMap(({ connections }) => connections.flatMap((one) => one.fromGuest));
  const toGuest = guests.flatMap((guest) => guest.toGuest);
  const most = (streams: Stream[]) =>
    Math.max(0, ...streams.flatMap((stream) => processes.map((_, process) => stream.repeatsIn(process))));
  const lost = (stream: Stream) =>
    processes.reduce((sum, _, process) => sum + stream.lostIn(process).length, 0);
  // A buffer that came back with an error does not name its frame: the guest's errors are subtracted as a number.
  const lostTo = (guest: SimGuest) =>
    Math.max(
      0,
      guest.toGuest.reduce((sum, stream) => sum + lost(stream), 0) - refusedTo(guest) - fullOf(guest),
    );
  return {
    faults,
    steps: processes.at(-1)?.steps ?? 0,
    attachStep: processes.at(-1)?.attachStep ?? 0,
    kills: processes.filter(({ killedAtStep }) => killedAtStep).length,
    stops: processes.filter(({ plan }) => plan.end === 'stop').length,
    frames: [...fromGuest, ...toGuest].reduce((sum, stream) => sum + stream.delivered, 0),
    repeated: { fromGuest: most(fromGuest), toGuest: most(toGuest) },
    lost: {
      fromGuest: fromGuest.reduce((sum, stream) => sum + lost(stream), 0),
      toGuest: guests.reduce((sum, guest) => sum + lostTo(guest), 0),
    },
    dropped: guests.reduce((sum, guest) => sum + fullOf(guest), 0),
    trace: run.trace.lines(),
  };
}

function judgeGuest(
  guest: SimGuest,
  processes: readonly ProcessRecord[],
  { faults: machine }: Scenario,
): string[] {
  // If grant operations fail, control requests that use grants may fail too.
  const grantsFail = machine.grantFailsEvery > 0;
  const isPrompt = guest.plan.lateMs === 0 && Object.values(machine).every((fault) => !fault);
  // In any case no guest gets bytes of another one.
  const faults = [...guest.faults];
  if (guest.torn) return faults;
  // Staged grants are lost with the journal, and cannot be removed.
  for (const { front, fromGuest, program, multicast, meter, spoiltAfter } of guest.connections) {
    const mayRefuse = grantsFail || spoiltAfter.size > 0;
    if (!mayRefuse) faults.push(...(program?.refused ?? []).map((what) => `${guest.vif}: refused ${what}`));
    // The key may be lost with the journal; and a guest whose change was refused has another key.
    const all = front?.violations.list ?? [];
    const violations = all.filter(({ kind }) => kind !== 'bad-hash' || !mayRefuse);
    faults.push(...violations.map(({ kind, detail }) => `${guest.vif}: ${kind}: ${detail}`));
    for (const stream of fromGuest) faults.push(...judgeFromGuest(stream, spoiltAfter, processes));
    // Without the journal, neither the list nor the rest of the rate is known.
    if (spoiltAfter.size > 0) continue;
    faults.push(...(multicast?.faults ?? []).map((what) => `${guest.vif}: ${what}`));
    if (guest.still && isPrompt && meter !== undefined && front === guest.front)
      meter.judgeSpeed(Math.max(...guest.plan.sizes));
    faults.push(...(meter?.faults ?? []).map((what) => `${guest.vif}: rate: ${what}`));
  }
  faults.push(...guest.probes.faults.map((what) => `${guest.vif}: ${what}`));
  for (const stream of guest.toGuest) faults.push(...judgeToGuest(stream, guest, processes));
  guest.segments?.repeated.forEach((segments, process) => {
    const most = killedBefore(processes, process) ? TO_GUEST_FRAMES : 0;
    if (segments > most)
      faults.push(`${guest.vif}: ${segments} segments came again in process ${process}, at most ${most} may`);
  });
  if (!guest.still) faults.push(`${guest.vif}: frames still wait, ${waiting(guest)}`);
  return faults;
}

function waiting({ front }: SimGuest): string {
  return front === undefined
    ? 'the guest never connected'
    : `${front.outstanding} requests without a response`;
}

/** Checks that each frame came for which the guest has the response okay: in order, unchanged, and again only after a kill, in one batch. */
function judgeFromGuest(
  stream: Stream,
  spoiltAfter: ReadonlySet<number>,
  processes: readonly ProcessRecord[],
): string[] {
  const faults = [...stream.faults, ...stream.damaged];
  const killed = processes.some(({ killedAtStep }) => killedAtStep);
  processes.forEach((_, process) => {
    const lost = stream.lostIn(process).length;
    // A late guest reads a response when a later process runs than the one that wrote it.
    const spoilt = [...spoiltAfter].some((after) => after >= process - 1);
    const mostLost = killed && spoilt ? BATCH_SLOTS : 0;
    if (lost > mostLost)
      faults.push(`${stream.name}: ${lost} lost after their response in process ${process}`);
    const most = killedBefore(processes, process) ? BATCH_SLOTS : 0;
    const repeats = stream.repeatsIn(process);
    if (repeats > most)
      faults.push(`${stream.name}: ${repeats} repeated in process ${process}, at most ${most} may be`);
  });
  return faults;
}

/** Checks that the guest got all frames that were read, once, in order and unchanged; a kill may lose the frames that were being read. */
function judgeToGuest(stream: Stream, guest: SimGuest, processes: readonly ProcessRecord[]): string[] {
  const { spoiltAfter } = guest;
  const faults = [...stream.faults, ...(guest.flipped ? [] : stream.damaged)];
  const refused = refusedTo(guest) + fullOf(guest);
  const killed = processes.flatMap(({ killedAtStep }, process) => (killedAtStep ? [process] : []));
  for (const sequence of stream.repeated)
    if (!stream.wasPendingAfter(sequence, killed))
      faults.push(`${stream.name}: frame ${sequence} came again, and was pending at no kill`);
  let kills = 0;
  processes.forEach(({ killedAtStep, steps }, process) => {
    // A frame that is being read is not recorded yet.
    const isRecorded = (sequence: number) => !killedAtStep || stream.dueAt(sequence) <= steps - RECORD_STEPS;
    const lost = stream.lostIn(process).filter(isRecorded).length;
    // Frames that a process has read may be pending over several later ones.
    const spoilt = [...spoiltAfter].some((after) => after >= process);
    const most = refused + (spoilt ? TO_GUEST_FRAMES : 0);
    if (lost > most)
      faults.push(`${stream.name}: ${lost} lost in process ${process}, at most ${most} may be`);
    const repeats = stream.repeatsIn(process);
    // One frame for each kill while frames were put into the queues that the guest chose; it comes when that queue has buffers.
    if (repeats > (stream.spread ? kills : 0))
      faults.push(`${stream.name}: ${repeats} repeated in process ${process}`);
    kills += (killedAtStep ? 1 : 0) - repeats;
  });
  return faults;
}

/** Counts slots with the response "error": at least as many as frames that the guest does not get. */
function refusedTo({ connections }: SimGuest): number {
  return connections.reduce((sum, { front }) => sum + (front?.stats.toGuest.errors ?? 0), 0);
}

/** Counts frames for which a queue had no room, which happens only if the guest chooses queues. */
function fullOf(guest: SimGuest): number {
  return guest.toGuest.some(({ spread }) => spread) ? guest.dropped : 0;
}

function killedBefore(processes: readonly ProcessRecord[], process: number): boolean {
  return processes[process - 1]?.plan.end === 'kill';
}

/**
 * A process reports a journal that was spoilt, or whose guest rebooted while no process ran, and a port that refuses frames; nothing
 * else.
 */
function judgeComplaints({ complaints, guests, processes, scenario }: Happened): string[] {
  const faults: string[] = [];
  const refuses = (scenario.faults.portRefusesEvery ?? 0) > 0;
  for (const { process, code, vif, message } of complaints) {
    const guest = guests.find((one) => one.vif === vif);
    const earlier = processes.slice(0, process);
    const strange = earlier.some(({ plan }) => plan.harm !== undefined || plan.reboot !== undefined);
    if ((code === 'ERR_JOURNAL' || code === 'ERR_JOURNAL_VERSION') && strange) continue;
    if (code === 'ERR_PROTOCOL' && guest?.torn === true) continue;
    if (code === 'ERR_TAP' && refuses) continue;
    faults.push(`process ${process} complains: ${message}`);
  }
  return faults;
}
