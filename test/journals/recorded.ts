import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { brotliDecompressSync } from 'node:zlib';
import { type Journals, memoryJournals } from '../../lib/durable/journal.js';
import type { PayloadMode, QueueSettings } from '../../lib/netback/settings.js';

interface Index {
  readonly commit: string;
  readonly journalVersion: number;
  readonly states: readonly string[];
}

interface RingIndices {
  readonly reqProd: number;
  readonly rspProd: number;
}

export interface RecordedFrame {
  readonly bytes: number;
  readonly text: string;
  /** Of the vnet header: flags, csum_start and csum_offset. */
  readonly header: readonly [number, number, number];
}

/** What a resume must find. Lists have an entry for each queue. */
export interface Expected {
  readonly multicast: { readonly requested: boolean; readonly addresses: readonly string[] };
  readonly hash: {
    readonly algorithm: number;
    readonly types: number;
    readonly key: string;
    readonly mapping: readonly number[];
  };
  /** The hash after a request that had no response yet. */
  readonly hashAfterResume?: { readonly key: string };
  readonly staged: readonly { readonly [how in 'read' | 'write' | 'pendingRemoval']: readonly number[] }[];
  readonly resumes: number;
  readonly controlWrapped: boolean;
  readonly controlAnswers?: readonly {
    readonly type: number;
    readonly status: number;
    readonly data?: number;
  }[];
  readonly rate?: { readonly bytes: number; readonly intervalMs: number; readonly leftBytes: number };
  /** With a response, and perhaps not written into the port. */
  readonly pendingFromGuest: readonly (readonly RecordedFrame[])[];
  /** Without a response. */
  readonly unanswered?: readonly (readonly RecordedFrame[])[];
  /** Of all queues, and how many of them each has; without counts they are in more than one. */
  readonly pendingToGuest: { readonly texts: readonly string[]; readonly counts?: readonly number[] };
  /** In the guest's pages, and without a response. */
  readonly committedToGuest?: readonly (readonly string[])[];
  readonly repeatedAtMost: number;
}

/** The state that one backend left, with the guest and the store at that time. */
export interface RecordedState {
  readonly how: 'process' | 'model';
  readonly payload: PayloadMode;
  readonly at: string;
  /** The machine's monotonic clock when the backend ended. The model's is at 0. */
  readonly monotonicMs?: number;
  readonly domid: number;
  readonly handle: number;
  readonly journals: readonly string[];
  /** By file of the guest's memory: the references of its pages. */
  readonly grants: Readonly<Record<string, readonly number[]>>;
  readonly queues: readonly (QueueSettings & { readonly tx: RingIndices; readonly rx: RingIndices })[];
  readonly control?: RingIndices & { readonly ringRef: number; readonly port: number };
  readonly expect: Expected;
}

/** The commits whose journals are recorded, oldest version first. */
export function recordedCommits(): string[] {
  const entries = readdirSync(fileURLToPath(new URL('.', import.meta.url)), { withFileTypes: true });
  const commits = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  return commits.toSorted((a, b) => indexOf(a).journalVersion - indexOf(b).journalVersion);
}

const folderOf = (commit: string) => fileURLToPath(new URL(`${commit}/`, import.meta.url));
const jsonIn = (file: string) => JSON.parse(readFileSync(file, 'utf8'));

export function indexOf(commit: string): Index {
  return jsonIn(`${folderOf(commit)}index.json`) as Index;
}

/** One recorded state, read from the files of its folder. */
export class Recorded {
  readonly state: RecordedState;
  /** Paths and values of the store's nodes. */
  readonly nodes: ReadonlyMap<string, string>;
  readonly #folder: string;

  constructor(commit: string, name: string) {
    this.#folder = `${folderOf(commit)}${name}/`;
    this.state = jsonIn(`${this.#folder}state.json`) as RecordedState;
    this.nodes = new Map(Object.entries(jsonIn(`${this.#folder}store.json`) as Record<string, string>));
  }

  /** A file of a journal or of the guest's memory. */
  bytes(file: string): Uint8Array {
    return new Uint8Array(brotliDecompressSync(readFileSync(`${this.#folder}${file}.br`)));
  }

  /** The journals in memory, by name. */
  journals(): { readonly journals: Journals; readonly files: ReadonlyMap<string, Uint8Array> } {
    const journals = memoryJournals();
    const files = new Map<string, Uint8Array>();
    for (const file of this.state.journals) {
      const recorded = this.bytes(file);
      const name = file.slice(0, -'.journal'.length);
      const { bytes } = journals.open(name, recorded.length);
      bytes.set(recorded);
      files.set(name, bytes);
    }
    return { journals, files };
  }
}
