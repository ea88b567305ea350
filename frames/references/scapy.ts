import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { GUARD } from '../../worlds/processes/children.js';
import type { Layer } from '../forms/headers.js';

/** Debian's Python, for which python3-scapy is installed. Another Python in PATH may have no scapy. */
const PYTHON = '/usr/bin/python3';
const PROGRAM = resolve('frames/references/build_frames.py');
/** How many requests may wait in the pipe. */
const WAITING_MAX = 32;

export interface BuildRequest {
  readonly layers: readonly Layer[];
  readonly payload: Uint8Array;
  /** The layer whose checksum is open; undefined: all are complete. */
  readonly open: number | undefined;
  /** Bytes of payload in a segment; 0 asks for no segments. */
  readonly segment: number;
}

export interface Built {
  readonly complete: Uint8Array;
  /** The frame with only the sum of the pseudo header in the checksum of the open layer. */
  readonly open: Uint8Array;
  /** Where the open layer begins, and where its checksum is in it. */
  readonly start: number;
  readonly offset: number;
  readonly segments: readonly Uint8Array[];
}

export interface Dissected {
  /** The layers' names, such as `Ethernet/802.1Q/IP/TCP/Raw`. */
  readonly layers: string;
  /** The first checksum or length that is wrong. */
  readonly wrong: string | null;
}

/** @returns what this machine lacks, as a sentence; undefined if it lacks nothing. */
export function whyNoScapy(): string | undefined {
  const { status } = spawnSync(PYTHON, ['-c', 'import scapy.config'], { stdio: 'ignore' });
  return status === 0
    ? undefined
    : `scapy is missing for ${PYTHON}: \`apt-get install -y --no-install-recommends python3-scapy\``;
}

/** A Python process that builds and dissects frames with scapy. */
export class Scapy implements Disposable {
  readonly #child: ChildProcess;
  readonly #waiting: { resolve: (answer: Answer) => void; reject: (error: Error) => void }[] = [];
  readonly #queue: string[] = [];
  #ended: Error | undefined;

  constructor() {
    const [command, ...args] = [...GUARD, PYTHON, PROGRAM];
    this.#child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    createInterface(this.#child.stdout!).on('line', (line) => {
      this.#waiting.shift()?.resolve(JSON.parse(line) as Answer);
      this.#pour();
    });
    const end = (why: string) => {
      this.#ended = new Error(`scapy: ${why}`);
      for (const { reject } of this.#waiting.splice(0)) reject(this.#ended);
    };
    this.#child.once('error', (error) => end(error.message));
    this.#child.once('exit', (code, signal) => end(`python ended with ${code ?? signal}`));
    this.#child.stdin?.on('error', () => {});
  }

  async build({ layers, payload, open, segment }: BuildRequest): Promise<Built> {
    const request = { layers, payload: hexOf(payload), open: open ?? null, segment };
    const answer = await this.#ask({ build: request });
    return {
      complete: bytesOf(answer.complete ?? ''),
      open: bytesOf(answer.open ?? ''),
      start: answer.start ?? 0,
      offset: answer.offset ?? 0,
      segments: (answer.segments ?? []).map(bytesOf),
    };
  }

  async dissect(frames: readonly Uint8Array[]): Promise<readonly Dissected[]> {
    return (await this.#ask({ dissect: frames.map(hexOf) })).found ?? [];
  }

  [Symbol.dispose](): void {
    this.#child.stdin?.end();
    this.#child.kill();
  }

  async #ask(request: object): Promise<Answer> {
    if (this.#ended !== undefined) throw this.#ended;
    const answered = new Promise<Answer>((resolve, reject) => this.#waiting.push({ resolve, reject }));
    this.#queue.push(`${JSON.stringify(request)}\n`);
    this.#pour();
    const answer = await answered;
    if (answer.error !== undefined)
      throw new Error(`scapy: ${answer.error}, of ${JSON.stringify(request).slice(0, 300)}`);
    return answer;
  }

  /** Writes as many requests as may be under way. More would fill both pipes. */
  #pour(): void {
    let underWay = this.#waiting.length - this.#queue.length;
    while (underWay < WAITING_MAX && this.#queue.length > 0) {
      this.#child.stdin?.write(this.#queue.shift());
      underWay++;
    }
  }
}

interface Answer {
  readonly error?: string;
  readonly complete?: string;
  readonly open?: string;
  readonly start?: number;
  readonly offset?: number;
  readonly segments?: readonly string[];
  readonly found?: readonly Dissected[];
}

export function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

function bytesOf(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, 'hex'));
}
