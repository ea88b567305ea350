import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { VifdError } from '../../lib/errors.js';
import type { InterfaceChange, Interfaces, KnownInterface, Refusal } from '../../lib/host/interfaces.js';

const MODULE = new URL('../../dist/host/netlink-interfaces.js', import.meta.url).href;

/** Serves calls as they come, and posts the known interfaces after each change. */
const SERVER = `
const { workerData: { port, turn } } = require('node:worker_threads');
import(${JSON.stringify(MODULE)}).then(({ NetlinkInterfaces }) => {
  const network = new NetlinkInterfaces();
  let following;
  const known = () => JSON.stringify(network.list().map(({ index }) => network.known(index)));
  const calls = {
    follow: () => { following = network.follow(() => port.postMessage(['changed', known()])); return JSON.parse(known()); },
    unfollow: () => following[Symbol.dispose](),
  };
  port.on('message', (text) => {
    const [name, ...args] = JSON.parse(text);
    let response;
    try {
      response = { result: (calls[name] ?? ((...given) => network[name](...given)))(...args) };
    } catch ({ code, message, errno }) {
      response = { error: { code, message, errno } };
    }
    port.postMessage(['response', JSON.stringify(response)]);
    Atomics.add(turn, 0, 1);
    Atomics.notify(turn, 0);
  });
});`;

/**
 * Interfaces that another thread serves, which has the only netlink sockets: each call is a message of JSON, and so is its result.
 */
export class ServedInterfaces implements Interfaces, AsyncDisposable {
  readonly calls: string[] = [];
  readonly #port: MessagePort;
  readonly #worker: Worker;
  readonly #turn = new Int32Array(new SharedArrayBuffer(4));
  readonly #listeners = new Set<() => void>();
  #known: KnownInterface[] = [];

  constructor() {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    const workerData = { port: port2, turn: this.#turn };
    this.#worker = new Worker(SERVER, { eval: true, workerData, transferList: [port2] });
    this.#port.on('message', ([, text]: [string, string]) => this.#changed(text));
    this.#port.unref();
  }

  find = (which: number | string) => this.#call<ReturnType<Interfaces['find']>>('find', which);
  list = () => this.#call<ReturnType<Interfaces['list']>>('list');
  change = (index: number, change: InterfaceChange) =>
    this.#call<Refusal | undefined>('change', index, change);
  changePort = (index: number, flags: Readonly<Record<string, number>>) =>
    this.#call<Refusal | undefined>('changePort', index, flags);
  dropped = (index: number) => this.#call<number | undefined>('dropped', index);
  remove = (index: number) => this.#call<Refusal | undefined>('remove', index);

  known(which: number | string): KnownInterface | undefined {
    // Another object each time, as from a message.
    return structuredClone(this.#known.find(({ index, name }) => index === which || name === which));
  }

  follow(listener: () => void): Disposable {
    if (this.#listeners.size === 0) this.#known = this.#call<KnownInterface[]>('follow');
    const call = () => listener();
    this.#listeners.add(call);
    return {
      [Symbol.dispose]: () => {
        this.#listeners.delete(call);
        if (this.#listeners.size > 0) return;
        this.#known = [];
        this.#call('unfollow');
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#port.close();
    await this.#worker.terminate();
  }

  #changed(text: string): void {
    if (this.#listeners.size === 0) return;
    this.#known = JSON.parse(text);
    for (const listener of [...this.#listeners]) listener();
  }

  #call<T>(name: string, ...args: unknown[]): T {
    this.calls.push(name);
    const before = Atomics.load(this.#turn, 0);
    this.#port.postMessage(JSON.stringify([name, ...args]));
    for (;;) {
      const received = receiveMessageOnPort(this.#port)?.message as [string, string] | undefined;
      if (received === undefined) {
        if (Atomics.wait(this.#turn, 0, before, 10_000) === 'timed-out')
          throw new Error(`${name}: no response`);
      } else if (received[0] === 'response') {
        const { result, error } = JSON.parse(received[1]);
        if (error !== undefined) throw new VifdError(error.code, error.message, { errno: error.errno });
        return result;
      } else {
        // Later: listeners do not run in the middle of a call.
        setImmediate(() => this.#changed(received[1]));
      }
    }
  }
}
