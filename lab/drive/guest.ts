import { statSync } from 'node:fs';
import { open, readFile, writeFile } from 'node:fs/promises';
import { must, run, sleep, until } from './process.js';

let commands = 0;

/** One of the lab's guests. Commands go over its console, as `guest exec` does, without its forks: these are slow here. */
export class Guest {
  readonly name: string;
  readonly domid: number;

  private constructor(name: string, domid: number) {
    this.name = name;
    this.domid = domid;
  }

  /** Starts it if it is not there. `environment` is that of `guest start`. */
  static async running(name: string, environment: string[] = [], vifs: string[] = []): Promise<Guest> {
    const there = await Guest.find(name);
    if (there !== undefined) return there;
    await must('env', ...environment, 'guest', 'start', name, ...vifs);
    const guest = await Guest.find(name);
    if (guest === undefined) throw new Error(`${name} has ended by itself`);
    return guest;
  }

  static async find(name: string): Promise<Guest | undefined> {
    const { code, output } = await run('xl', 'domid', name);
    return code === 0 ? new Guest(name, Number(output)) : undefined;
  }

  get vif(): string {
    return `vif${this.domid}.0`;
  }

  get address(): string {
    return `10.77.0.${Number(this.name.slice(1)) + 1}`;
  }

  get backendPath(): string {
    return `/local/domain/0/backend/vif/${this.domid}/0`;
  }

  /** Runs a line of shell in the guest and returns its output. A process that it starts in the background must close its stdout. */
  async exec(line: string, timeoutMs = 60_000): Promise<string> {
    const { status, output } = await this.#run(line, timeoutMs);
    if (status !== 0) throw new Error(`${this.name}: \`${line}\` ended with ${status}: ${output}`);
    return output;
  }

  /** For commands that end the guest. */
  async tell(line: string): Promise<void> {
    await this.#send(commandId(), line);
  }

  async #run(line: string, timeoutMs: number): Promise<{ status: number; output: string }> {
    const id = commandId();
    const log = logOf(this.name);
    const from = statSync(log).size;
    await this.#send(id, line);
    const end = performance.now() + timeoutMs;
    while (performance.now() < end) {
      await sleep(50);
      const lines = (await readFile(log)).subarray(from).toString().split(/\r*\n/);
      const last = lines.slice(0, -1).find((text) => text.startsWith(`@${id}. `));
      if (last === undefined) continue;
      const output = lines
        .filter((text) => text.startsWith(`@${id} `))
        .map((text) => text.slice(id.length + 2));
      return { status: Number(last.slice(id.length + 3)), output: output.join('\n') };
    }
    throw new Error(`${this.name} has not ended \`${line}\` after ${timeoutMs / 1000} s`);
  }

  async #send(id: string, line: string): Promise<void> {
    const tty = await must('xenstore-read', `/local/domain/${this.domid}/console/tty`);
    const file = await open(tty.trim(), 'w');
    await writeFile(file, `@run ${id} ${Buffer.from(`${line}\n`).toString('base64')}\n`);
    await file.close();
  }
}

function commandId(): string {
  commands += 1;
  return `t${commands}`;
}

/** Reboots it, and waits until xl has started a guest of that name again, which takes commands. */
export async function reboot(before: Guest): Promise<Guest> {
  // xenconsoled continues the same log.
  const ready = async () => (await readFile(logOf(before.name), 'utf8')).split('@ready').length;
  const readyBefore = await ready();
  await before.tell('reboot -f');
  await until(`${before.name} takes commands again`, async () => (await ready()) > readyBefore, 120_000);
  const after = await Guest.find(before.name);
  if (after === undefined || after.domid === before.domid)
    throw new Error(`${before.name} is not a new domain`);
  return after;
}

function logOf(name: string): string {
  return `/var/log/xen/console/guest-${name}.log`;
}
