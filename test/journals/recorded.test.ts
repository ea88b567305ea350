import { describe, expect, it } from 'vitest';
import { DurableWords } from '../../lib/durable/durable-words.js';
import {
  HEAD,
  JOURNAL_VERSION,
  JOURNAL_VERSIONS,
  type JournalVersion,
  LAYOUTS,
  NEGOTIATED,
} from '../../lib/durable/layout.js';
import { NONE_PENDING } from '../../lib/durable/redo.js';
import type { VifdError } from '../../lib/errors.js';
import { Credit } from '../../lib/netback/guest/credit.js';
import { HashState } from '../../lib/netback/guest/hash.js';
import { MulticastFilter } from '../../lib/netback/guest/multicast.js';
import { Staging } from '../../lib/netback/guest/staging.js';
import { Netback } from '../../lib/netback/netback.js';
import type { ControlSettings, FrontendSettings, QueueSettings } from '../../lib/netback/settings.js';
import {
  type ConnectionJournals,
  type IgnoredJournal,
  VifJournals,
} from '../../lib/netback/state/connection-journals.js';
import { recordedNegotiated } from '../../lib/netback/state/negotiated.js';
import type { JournalSide } from '../../lib/netback/state/queue-journal.js';
import { FRAME_LENGTH, FRAME_OFFSET, frameAt } from '../../lib/ports/frame-batch.js';
import { RING_REQ_PROD, RING_RSP_PROD } from '../../lib/protocol/netif.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { ManyQueues } from '../../lib/testing/netfront/index.js';
import type { Access, Grants } from '../../lib/xen/seam.js';
import { TestPort } from '../../worlds/model/test-port.js';
import { indexOf, Recorded, type RecordedFrame, recordedCommits } from './recorded.js';
import { RecordedGuest } from './recorded-guest.js';

/** What the guest of record.mjs negotiates, beside its rings. */
const CAPABILITIES = {
  ...{ scatterGather: true, gsoV4: true, gsoV6: true, checksumV4: true, checksumV6: true, rxNotify: true },
  ...{ multicastControl: false, xdpHeadroom: 0 },
};
const VIF = { id: 'vif7.0', domid: 7, handle: 0 } as const;

function settingsOf({ state }: Recorded): FrontendSettings {
  const { queues, control } = state;
  return { ...CAPABILITIES, queues: queues.map(ringsOf), control: control && channelOf(control) };
}

const ringsOf = ({ txRingRef, rxRingRef, txPort, rxPort }: QueueSettings): QueueSettings => ({
  ...{ txRingRef, rxRingRef, txPort, rxPort },
});
const channelOf = ({ ringRef, port }: ControlSettings): ControlSettings => ({ ringRef, port });

/** Reads a state's journals as a backend does that attaches and writes this version. @returns what it would report, too. */
function read(
  recorded: Recorded,
  version: JournalVersion,
  { journals } = recorded.journals(),
): ConnectionJournals & { reported: string[] } {
  const reported: string[] = [];
  const onError = (error: unknown) => reported.push(String(error));
  const onIgnored = ({ code }: IgnoredJournal) => reported.push(code);
  const reader = new VifJournals({ journals, vif: VIF, version, onError, onIgnored });
  return { ...reader.open(settingsOf(recorded)), reported };
}

/** What a direction of a queue has pending. */
function pendingIn({ log, frames }: JournalSide): Buffer[] {
  const pending: Buffer[] = [];
  if (log.firstPending === NONE_PENDING) return pending;
  for (let i = log.firstPending; i < frames.count; i++) {
    const at = frameAt(i);
    const [offset, length] = [frames.block[at + FRAME_OFFSET]!, frames.block[at + FRAME_LENGTH]!];
    if (length > 0) pending.push(Buffer.from(frames.arena.bytes.subarray(offset, offset + length)));
  }
  return pending;
}

const toGuestText = (frame: Buffer) => /to the guest, frame \d+/.exec(frame.toString('latin1'))?.[0];

/** A frame from the guest as state.json describes it. */
function describedFrame(frame: Uint8Array, header?: Uint8Array): Partial<RecordedFrame> {
  const bytes = Buffer.from(frame);
  const text =
    /(written|sent after|committed|its checksum)[a-z, ]*\d*/.exec(bytes.toString('latin1'))?.[0] ?? '';
  if (header === undefined) return { bytes: bytes.length, text };
  const vnet = Buffer.from(header);
  return { bytes: bytes.length, text, header: [vnet[0]!, vnet.readUInt16LE(6), vnet.readUInt16LE(8)] };
}

/** The list of a queue's staged grants, without a hypervisor to map them. */
function stagedIn({ view }: DurableWords): { read: number[]; write: number[]; pendingRemoval: number[] } {
  const added: Record<Access, number[]> = { read: [], write: [] };
  const grants = {
    add: (refs: readonly number[], access: Access) => {
      added[access].push(...refs);
      return true;
    },
    remove: () => {},
    [Symbol.dispose]: () => {},
  } as unknown as ReturnType<Grants['staged']>;
  const words = Uint32Array.from({ length: view.length }, (_, at) => view[at]!);
  const staging = new Staging(new DurableWords(words), grants);
  const all = new Set(words);
  // No response was published since: removals that are pending stay pending.
  staging.resume(words[1 + words[0]! * ((words.length - 1) / 2) + 2]!);
  const known = [...added.read, ...added.write];
  const pendingRemoval = [...all].filter((ref) => ref > 8 && !known.includes(ref) && staging.has(ref));
  return { ...added, pendingRemoval };
}

describe.each(recordedCommits())('journals of %s', (commit) => {
  const { states, journalVersion } = indexOf(commit);
  const cases = states.flatMap((name) => JOURNAL_VERSIONS.map((version) => [name, version] as const));

  it.each(cases)(
    '%s: are read by a vifd that writes version %i, with all that was put in',
    (name, version) => {
      const recorded = new Recorded(commit, name);
      const { expect: wanted, monotonicMs = 0, queues } = recorded.state;
      const { vif, queues: journals, reported } = read(recorded, version);
      expect(reported).toEqual([]);

      const hash = new HashState(vif.hash, queues.length);
      expect({
        algorithm: hash.algorithm,
        types: hash.flags,
        key: Buffer.from(hash.key).toString('hex'),
        mapping: [...hash.mapping],
      }).toEqual(wanted.hash);
      expect(new MulticastFilter(vif.multicast).addresses()).toEqual(wanted.multicast.addresses);
      expect([vif.resumes.view[0], vif.controlWrapped.view[0]]).toEqual([
        wanted.resumes,
        Number(wanted.controlWrapped),
      ]);
      if (wanted.rate !== undefined) {
        const credit = new Credit(vif.credit);
        credit.limit(wanted.rate, monotonicMs);
        expect(credit.available(monotonicMs)).toBe(wanted.rate.leftBytes);
      }
      for (const [index, journal] of journals.entries()) {
        expect(pendingIn(journal!.fromGuest).map((frame) => describedFrame(frame))).toEqual(
          wanted.pendingFromGuest[index]!.map(({ bytes, text }) => ({ bytes, text })),
        );
        expect(stagedIn(journal!.staging)).toEqual(wanted.staged[index]);
      }
      const toGuest = journals.map((journal) => pendingIn(journal!.toGuest).map(toGuestText));
      expect(new Set(toGuest.flat())).toEqual(new Set(wanted.pendingToGuest.texts));
      if (wanted.pendingToGuest.counts !== undefined)
        expect(toGuest.map(({ length }) => length)).toEqual(wanted.pendingToGuest.counts);
    },
  );

  // Version 7 has no place for it.
  if (journalVersion >= 8)
    it.each(states)('%s: have what the connection negotiated', (name) => {
      const recorded = new Recorded(commit, name);
      const bytes = recorded.bytes('vif7.0.journal');
      const { words, at } = LAYOUTS[8].vif.words;
      const whole = new DurableWords(new Uint32Array(bytes.buffer, bytes.byteOffset, words));
      const { queues, control } = settingsOf(recorded);
      const found = recordedNegotiated(whole.part(at.negotiated, NEGOTIATED.words));
      expect(found).toMatchObject({ scatterGather: true, gsoV4: true, gsoV6: true, rxNotify: true, queues });
      expect(found?.control).toEqual(control);
    });

  it.each(cases)(
    '%s: are resumed, in version %i, and all that was pending is passed on',
    async (name, journalVersion) => {
      const recorded = new Recorded(commit, name);
      const { state, nodes } = recorded;
      const { expect: wanted, queues, payload } = state;
      const hypervisor = new ModelHypervisor();
      const settled = async <T>(work: PromiseLike<T>): Promise<T> => {
        await hypervisor.settle();
        return work;
      };
      await hypervisor.advance(state.monotonicMs ?? 0);
      const { store } = hypervisor.open(0);
      await settled(
        store.transaction(async (view) => {
          for (const [path, value] of nodes) await view.write(path, value);
        }),
      );
      const guest = new RecordedGuest(recorded, hypervisor.open(state.domid));
      const ports = queues.map(() => new TestPort());
      const errors: VifdError[] = [];
      const attached: boolean[] = [];
      const netback = await settled(
        Netback.open(
          {
            xen: hypervisor.open(0),
            port: () => new ManyQueues(ports),
            journals: recorded.journals().journals,
            ...{ payload, queues: queues.length, journalVersion },
          },
          { error: (error) => errors.push(error), attached: (_vif, { resumed }) => attached.push(resumed) },
        ),
      );
      await hypervisor.settle();
      for (const index of queues.keys()) guest.post(index, 24);
      await hypervisor.settle();
      expect([errors, attached]).toEqual([[], [true]]);

      for (const [index, port] of ports.entries()) {
        const written = port.written.map((frame, i) => describedFrame(frame, port.headers[i]));
        const pending = [...wanted.pendingFromGuest[index]!, ...(wanted.unanswered?.[index] ?? [])];
        expect(written).toEqual(pending);
        const tx = guest.ring(`q${index}-tx.ring`);
        expect(tx[RING_RSP_PROD]).toBe(tx[RING_REQ_PROD]);
      }
      const texts = queues.map((_queue, index) => guest.texts(index));
      const committed = wanted.committedToGuest ?? queues.map(() => []);
      const { texts: pending, counts } = wanted.pendingToGuest;
      expect(new Set(texts.flat())).toEqual(new Set([...committed.flat(), ...pending]));
      expect(texts.flat().length - committed.flat().length - pending.length).toBeLessThanOrEqual(
        wanted.repeatedAtMost,
      );
      for (const [index, count] of (counts ?? []).entries())
        expect(texts[index]).toHaveLength(count + committed[index]!.length);

      expect(guest.controlAnswers()).toMatchObject(wanted.controlAnswers ?? []);
      const { connection } = netback.vifs.get('vif7.0')!.show();
      expect(connection).toMatchObject({
        resumes: wanted.resumes + 1,
        multicast: { requested: wanted.multicast.requested, addresses: wanted.multicast.addresses },
        queues: wanted.staged.map(({ read, write }) => ({ stagedGrants: read.length + write.length })),
      });
      if (state.control !== undefined) {
        const { key, mapping } = { ...wanted.hash, ...wanted.hashAfterResume };
        expect(connection?.hash).toMatchObject({ key, mapping });
      }
      if (wanted.rate !== undefined) expect(connection?.rate?.leftBytes).toBe(wanted.rate.leftBytes);
      await settled(netback[Symbol.asyncDispose]());
    },
  );

  it.each(JOURNAL_VERSIONS)(
    'are ignored by a vifd that writes version %i once their version is unknown',
    (version) => {
      const recorded = new Recorded(commit, states[0]!);
      const journals = recorded.journals();
      for (const bytes of journals.files.values())
        new Uint32Array(bytes.buffer)[HEAD.at.version] = JOURNAL_VERSION + 1;
      const { queues, reported } = read(recorded, version, journals);
      expect(reported).toEqual(['ERR_JOURNAL_VERSION']);
      expect(queues.flatMap((journal) => pendingIn(journal!.toGuest))).toEqual([]);
    },
  );
});

it('each version that vifd writes is recorded', () => {
  const recorded = recordedCommits().map((commit) => indexOf(commit).journalVersion);
  expect(recorded).toEqual(JOURNAL_VERSIONS);
});
