/**
 * The ends of the demo's TCP streams in one network namespace. A process of its own: takes `TrafficOrder`s and gives
 * `TrafficReport`s over its IPC channel, and ends with it.
 */
import { connect, createServer, type Socket } from 'node:net';
import { machineMs } from './clock.js';
import { REPORT_MS, type Silence, type TrafficOrder, type TrafficReport } from './messages.js';
import { BLOCK_BYTES, fillBlock, PatternChecker } from './pattern.js';

/** Shorter silences come from processes taking turns on a busy processor. */
const SILENCE_MIN_MS = 5;

let finishing = false;
const finishers: Array<() => void> = [];

function report(message: TrafficReport): void {
  process.send?.(message);
}

function receive(stream: number, port: number): void {
  const server = createServer((socket) => {
    server.close();
    new Receiver(stream, socket);
  });
  server.on('error', (error) => report({ kind: 'reset', stream, why: error.message }));
  server.listen(port, () => report({ kind: 'listening', stream }));
}

/** Checks every byte, and notes silences. */
class Receiver {
  readonly #stream: number;
  readonly #checker: PatternChecker;
  readonly #timer = setInterval(() => this.#report(), REPORT_MS);
  #silences: Silence[] = [];
  #bytes = 0;
  #lastMs = machineMs();
  #ended = false;

  constructor(stream: number, socket: Socket) {
    this.#stream = stream;
    this.#checker = new PatternChecker(stream);
    socket.on('data', (chunk) => this.#take(chunk));
    socket.on('end', () => this.#end());
    socket.on('error', (error) => this.#lost(error.message));
    socket.on('close', () => this.#lost('closed'));
  }

  #take(chunk: Buffer): void {
    const now = machineMs();
    if (now - this.#lastMs >= SILENCE_MIN_MS) this.#silences.push([this.#lastMs, now]);
    this.#lastMs = now;
    this.#bytes += chunk.length;
    const differing = this.#checker.check(chunk);
    if (differing > 0) report({ kind: 'differ', stream: this.#stream, bytes: differing });
  }

  #report(): void {
    const now = machineMs();
    // A silence that has not ended is reported with its length so far, and again when it has ended.
    if (now - this.#lastMs >= SILENCE_MIN_MS) this.#silences.push([this.#lastMs, now]);
    report({ kind: 'received', stream: this.#stream, bytes: this.#bytes, silences: this.#silences });
    this.#silences = [];
    this.#bytes = 0;
  }

  #end(): void {
    this.#stop();
    report({ kind: 'ended', stream: this.#stream, bytes: this.#checker.position });
  }

  #lost(why: string): void {
    if (this.#ended) return;
    this.#stop();
    report({ kind: 'reset', stream: this.#stream, why });
  }

  #stop(): void {
    this.#ended = true;
    clearInterval(this.#timer);
    this.#report();
  }
}

function send(stream: number, host: string, port: number): void {
  let block = 0;
  let ended = false;
  const socket = connect({ host, port }, () => {
    report({ kind: 'connected', stream });
    pump();
  });
  const pump = (): void => {
    if (finishing) {
      finish();
      return;
    }
    const bytes = Buffer.allocUnsafeSlow(BLOCK_BYTES);
    fillBlock(bytes, stream, block);
    block += 1;
    // In another turn: a kernel that takes all at once would delay the other streams.
    if (socket.write(bytes)) setImmediate(pump);
  };
  const finish = (): void => {
    if (ended) return;
    ended = true;
    socket.end();
    report({ kind: 'sent', stream, bytes: block * BLOCK_BYTES });
  };
  const lost = (why: string): void => {
    if (ended) return;
    ended = true;
    report({ kind: 'reset', stream, why });
  };
  socket.on('drain', pump);
  socket.on('error', (error) => lost(error.message));
  socket.on('close', () => lost('closed'));
  finishers.push(finish);
}

function obey(order: TrafficOrder): void {
  if (order.kind === 'receive') receive(order.stream, order.port);
  else if (order.kind === 'send') send(order.stream, order.host, order.port);
  else {
    finishing = true;
    for (const finish of finishers) finish();
  }
}

process.on('message', (order: TrafficOrder) => obey(order));
process.once('disconnect', () => process.exit(0));
