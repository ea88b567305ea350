import { spawn } from 'node:child_process';
import { backendVifPath } from '../../lib/protocol/xenbus.js';
import { openXen } from '../../lib/xen/native/open.js';
import type { Xen } from '../../lib/xen/seam.js';
import { RawGuest } from '../../worlds/model/raw-guest.js';
import { ROOT, XENSIM_LIBRARIES } from '../../worlds/places.js';
import { ProcessWorld } from '../../worlds/processes/process-world.js';
import { until } from '../../worlds/processes/until.js';

/** How long a program may run after its last statement before it counts as one that does not end. */
const ENDS_MS = 5000;
/** How long a program may take in all, on a machine with much else to do. */
const LASTS_MS = 30_000;

/** How a program ended that embeds vifd. */
export interface Ended {
  /** The exit code; undefined if it was killed because it did not end by itself. */
  readonly code: number | undefined;
  readonly output: string;
  readonly errors: string;
}

/** A program that runs. */
export interface Program {
  /** Resolves once the program has printed this, or has ended. */
  printed(line: string): Promise<unknown>;
  readonly ended: Promise<Ended>;
  /** Sends a signal, after which the program must end by itself. */
  stop(signal: NodeJS.Signals): Promise<Ended>;
}

/** A host on xensim with raw guests in this process. Programs that embed the built vifd run in processes of their own. */
export class EmbedWorld extends ProcessWorld {
  #letIn!: (domid: number) => Promise<void>;
  #dom0!: Xen;

  static async open(): Promise<EmbedWorld> {
    const world = new EmbedWorld('embed');
    world.#letIn = await world.serveStore();
    world.#dom0 = await world.#domain(0);
    return world;
  }

  /** Connects a guest, which waits for a backend from then on. */
  async guest(domid: number): Promise<RawGuest> {
    await this.#letIn(domid);
    const guest = new RawGuest(await this.#domain(domid));
    await guest.connect(this.#dom0);
    return guest;
  }

  /** Resolves once the vif of a guest is connected. */
  async connected(domid: number): Promise<void> {
    await until(
      async () => (await this.toolstack.read(`${backendVifPath(0, domid, 0)}/state`)) === '4',
      LASTS_MS,
    );
  }

  /**
   * Runs a program in dom0: a module that may import vifd, and that prints 'done' as its last statement.
   * @param text of the module. It has `xenOptions` for `openXen`.
   */
  program(text: string, env: NodeJS.ProcessEnv = {}): Program {
    const head = `const xenOptions = ${JSON.stringify({ libraries: XENSIM_LIBRARIES, storePath: this.socket(0) })};\n`;
    return this.#start(['--input-type=module', '--eval', head + text], env);
  }

  /** Begins a file of JavaScript in dom0, which finds xensim by its environment. */
  start(file: string, args: readonly string[] = [], env: NodeJS.ProcessEnv = {}): Program {
    return this.#start([file, ...args], env);
  }

  #start(args: readonly string[], more: NodeJS.ProcessEnv = {}): Program {
    const env = { VIFD_XEN_LIBRARIES: XENSIM_LIBRARIES, XENSTORED_PATH: this.socket(0) };
    const child = spawn(process.execPath, args, {
      cwd: ROOT,
      env: { ...process.env, ...env, ...this.environment(0), ...more },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const [output, errors]: [string[], string[]] = [[], []];
    let killed = false;
    const kill = () => {
      killed = true;
      child.kill('SIGKILL');
    };
    let guard = setTimeout(kill, LASTS_MS);
    const mustEnd = () => {
      clearTimeout(guard);
      guard = setTimeout(kill, ENDS_MS);
    };
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output.push(text);
      if (text.includes('done')) mustEnd();
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => errors.push(text));
    const ended = new Promise<number | null>((resolve) => child.on('close', resolve)).then((code) => {
      clearTimeout(guard);
      const how = killed || code === null ? undefined : code;
      return { code: how, output: output.join(''), errors: errors.join('') };
    });
    const stop = (signal: NodeJS.Signals) => {
      child.kill(signal);
      mustEnd();
      return ended;
    };
    const printed = (line: string) =>
      until(() => killed || child.exitCode !== null || output.join('').includes(line), LASTS_MS);
    return { ended, stop, printed };
  }

  async #domain(domid: number): Promise<Xen> {
    // xensim reads both when a handle is opened.
    Object.assign(process.env, this.environment(domid));
    const xen = await openXen({ libraries: XENSIM_LIBRARIES, domid, storePath: this.socket(domid) });
    this.onEnd(() => xen[Symbol.asyncDispose]());
    return xen;
  }
}
