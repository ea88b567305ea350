import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { Child, enter, GUARD } from '../../worlds/processes/children.js';
import { until } from '../../worlds/processes/until.js';

const PORT = 7;
const EVERY_MS = 5;
/** Returns each byte that comes. */
const SERVER = `require('node:net').createServer((s) => s.on('error', () => {}).pipe(s)).listen(${PORT}, () => console.log('up'))`;

/** A TCP connection from the host to a guest, whose every number must come back, in order. */
export class Echo implements AsyncDisposable {
  /** How the connection ended. */
  broken: string | undefined;
  longestSilenceMs = 0;
  #sent = 0;
  #returned = 0;
  #heardMs = performance.now();
  #bytes = Buffer.alloc(0);
  readonly #socket: Socket;
  readonly #server: Child;
  readonly #timer: NodeJS.Timeout;

  /** @param pid of the guest. */
  static async start(pid: number, address: string): Promise<Echo> {
    let up = false;
    const server = await Child.start({
      name: 'echo',
      command: [...enter(pid), ...GUARD, process.execPath, '-e', SERVER],
      onLine: () => {
        up = true;
      },
    });
    await until(() => up, 20_000);
    const socket = createConnection({ host: address, port: PORT, noDelay: true });
    await once(socket, 'connect');
    return new Echo(socket, server);
  }

  private constructor(socket: Socket, server: Child) {
    this.#socket = socket;
    this.#server = server;
    socket.on('data', (bytes) => this.#take(bytes));
    socket.on('error', ({ message }) => {
      this.broken ??= message;
    });
    socket.on('close', () => {
      this.broken ??= 'closed';
    });
    this.#timer = setInterval(() => {
      const number = Buffer.alloc(4);
      number.writeUInt32LE(this.#sent++);
      socket.write(number);
    }, EVERY_MS);
  }

  /** Resolves when what is sent from now on has come back. @returns false if it does not within the time. */
  async returns(withinMs = 20_000): Promise<boolean> {
    const from = this.#sent;
    const back = await until(() => this.broken !== undefined || this.#returned > from + 1, withinMs);
    return back && this.broken === undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.#socket.removeAllListeners('close');
    this.#socket.destroy();
    await this.#server.end('SIGKILL');
  }

  #take(bytes: Buffer): void {
    const nowMs = performance.now();
    this.longestSilenceMs = Math.max(this.longestSilenceMs, nowMs - this.#heardMs);
    this.#heardMs = nowMs;
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    for (; this.#bytes.length >= 4; this.#bytes = this.#bytes.subarray(4)) {
      const number = this.#bytes.readUInt32LE();
      if (number !== this.#returned) this.broken ??= `${number} came back after ${this.#returned - 1}`;
      this.#returned = number + 1;
    }
  }
}
