import { Child, GUARD } from '../worlds/processes/children.js';
import { type Promised, promised, within } from '../worlds/processes/wait.js';
import { WorldError } from '../worlds/world-error.js';
import type { TrafficOrder, TrafficReport } from './messages.js';
import { TRAFFIC_PROGRAM } from './programs.js';
import type { Recorder } from './recorder.js';

const FIRST_PORT = 5000;
/** TCP that lost the same segment in each of the last restarts may wait half a minute before it retransmits. */
const FINISH_TIMEOUT_MS = 60_000;
/** A guest that was disconnected receives nothing more. */
const BROKEN_TIMEOUT_MS = 5_000;

/** A network namespace that streams end in. */
export interface Place {
  readonly name: string;
  readonly address: string;
  /** Command that runs another in it. */
  readonly enter: readonly string[];
}

export interface StreamsParts {
  readonly places: readonly Place[];
  readonly recorder: Recorder;
  readonly signal: AbortSignal;
  readonly fail: (error: WorldError) => void;
}

interface Stream {
  readonly listening: Promised;
  readonly connected: Promised;
  /** Both ends have reported how the stream ended. */
  readonly over: Promised;
  sent: number | undefined;
  received: number | undefined;
  isReset: boolean;
}

/** Long-lived TCP connections between places, one process a place. */
export class Streams implements AsyncDisposable {
  readonly #parts: StreamsParts;
  readonly #processes: Child[] = [];
  readonly #streams: Stream[] = [];
  #finishing = false;

  constructor(parts: StreamsParts) {
    this.#parts = parts;
  }

  /** Connects each pair of places, given by their numbers. */
  async start(pairs: readonly (readonly [from: number, to: number])[]): Promise<void> {
    const { places, recorder } = this.#parts;
    for (const place of places) this.#processes.push(await this.#startProcess(place));
    for (const [from, to] of pairs) {
      const number = recorder.addStream(places[from]?.name ?? '', places[to]?.name ?? '');
      await this.#connect(number, from, to);
    }
  }

  /** Ends all streams at their senders, and compares what was sent with what arrived. */
  async finish(): Promise<void> {
    const { recorder, signal } = this.#parts;
    this.#finishing = true;
    for (const process of this.#processes) order(process, { kind: 'finish' });
    const all = Promise.all(this.#streams.map((stream) => stream.over.done));
    const timeoutMs = recorder.violations > 0 ? BROKEN_TIMEOUT_MS : FINISH_TIMEOUT_MS;
    await within(all, { what: 'the end of the streams', signal, timeoutMs }).catch((error) => {
      if (signal.aborted) throw error;
    });
    this.#streams.forEach((stream, number) => {
      if (stream.isReset) return;
      if (stream.sent === undefined || stream.received === undefined) {
        recorder.reset(number, `did not come to its end within ${timeoutMs / 1000} s`);
      } else if (stream.sent !== stream.received) {
        recorder.differ(number, Math.abs(stream.sent - stream.received));
      }
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#finishing = true;
    await Promise.all(this.#processes.map((process) => process.end('SIGKILL')));
  }

  async #startProcess(place: Place): Promise<Child> {
    const process_ = await Child.start({
      name: `traffic of ${place.name}`,
      command: [...place.enter, ...GUARD, process.execPath, TRAFFIC_PROGRAM],
      onMessage: (message) => this.#hear(message as TrafficReport),
    });
    process_.ended.then((how) => {
      if (this.#finishing) return;
      this.#parts.fail(new WorldError(`${process_.name} ended by itself (${how}): ${process_.lastWords}`));
    });
    return process_;
  }

  async #connect(number: number, from: number, to: number): Promise<void> {
    const { places, signal } = this.#parts;
    const stream: Stream = {
      listening: promised(),
      connected: promised(),
      over: promised(),
      sent: undefined,
      received: undefined,
      isReset: false,
    };
    this.#streams[number] = stream;
    const port = FIRST_PORT + number;
    const what = `connecting ${places[from]?.name} to ${places[to]?.name}`;
    order(this.#processes[to], { kind: 'receive', stream: number, port });
    await within(stream.listening.done, { what, signal });
    order(this.#processes[from], { kind: 'send', stream: number, host: places[to]?.address ?? '', port });
    await within(stream.connected.done, { what, signal });
  }

  #hear(report: TrafficReport): void {
    const { recorder } = this.#parts;
    const stream = this.#streams[report.stream];
    if (stream === undefined) return;
    if (report.kind === 'listening') stream.listening.keep();
    else if (report.kind === 'connected') stream.connected.keep();
    else if (report.kind === 'received') recorder.received(report.stream, report.bytes, report.silences);
    else if (report.kind === 'differ') recorder.differ(report.stream, report.bytes);
    else if (report.kind === 'sent') stream.sent = report.bytes;
    else if (report.kind === 'reset') this.#reset(report.stream, stream, report.why);
    else if (this.#finishing) stream.received = report.bytes;
    else this.#reset(report.stream, stream, 'ended before its end');
    if (stream.sent !== undefined && stream.received !== undefined) stream.over.keep();
  }

  /** Both ends of a connection report it, and it counts once. */
  #reset(number: number, stream: Stream, why: string): void {
    if (!stream.isReset) this.#parts.recorder.reset(number, why);
    stream.isReset = true;
    stream.over.keep();
  }
}

function order(process: Child | undefined, what: TrafficOrder): void {
  process?.send(what);
}
