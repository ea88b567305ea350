import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { eventIn, type JournalEntry } from './log-lines.js';
import { must, run, until } from './process.js';
import { Vifd } from './vifd.js';

const UNIT = 'vifd.service';
const UNIT_FILE = `/etc/systemd/system/${UNIT}`;
const DROP_IN = `/run/systemd/system/${UNIT}.d`;
/** dom0 loads xen-netback for the first vif of a boot unless this forbids it. `modprobe xen-netback` works all the same. */
const BLACKLIST = '/etc/modprobe.d/vifd.conf';
const CGROUP = `/sys/fs/cgroup/system.slice/${UNIT}`;
const SIGKILL = 9;
/** Where `npm install -g` puts packages, and the program. */
const MODULES = '/usr/local/lib/node_modules';
const PROGRAM = '/usr/local/bin/vifd';
/** The installed package, and a copy of it to update to. */
const PACKAGES = ['vifd', 'vifd-b'] as const;

/**
 * Installs the package and its unit as README.md, "On a dom0", has it. A dom0 without npm (that of the host is not one folder) has
 * the package unpacked to where npm would put it. Once a boot; nothing is started.
 */
export async function installUnit(tarball = '/mnt/vifd/build/lab/vifd.tgz'): Promise<void> {
  if (existsSync(UNIT_FILE)) return;
  const [folder, copy] = PACKAGES.map((name) => `${MODULES}/${name}`) as [string, string];
  if ((await run('npm', '--version').catch(() => ({ code: 1 }))).code === 0) {
    await must('npm', 'install', '-g', '--offline', tarball);
  } else {
    await must('mkdir', '-p', folder);
    await must('tar', '-C', folder, '-xf', tarball, '--strip-components=1');
    // As npm does for a package's programs.
    await must('chmod', '755', `${folder}/dist/vifd.cjs`);
    await must('ln', '-sfn', `${folder}/dist/vifd.cjs`, PROGRAM);
  }
  await must('cp', '-a', folder, copy);
  await writeFile(BLACKLIST, 'blacklist xen-netback\n');
  await must('cp', `${folder}/systemd/${UNIT}`, UNIT_FILE);
  await must('systemctl', 'daemon-reload');
}

/**
 * vifd as its users run it: the shipped unit, in its sandbox. Tests read its events from the lines that it writes to the journal. A drop-in
 * changes the command only if options are given, or another payload mode than the default.
 */
export class UnitVifd extends Vifd {
  #running = false;
  #pid: number | undefined;
  #package = 0;
  #follower: ChildProcess | undefined;
  readonly #program: string;
  /** Whether processes from now on have workers, as the package sets that up. */
  workers = false;

  /** @param program another build than the installed one: a path to its `vifd.cjs`. */
  constructor(program?: string) {
    super();
    this.#program = program === undefined ? 'vifd' : `${process.execPath} ${program}`;
  }

  get running(): boolean {
    return this.#running;
  }

  get pid(): number | undefined {
    return this.#pid;
  }

  get command(): readonly [string, ...string[]] {
    return ['vifd'];
  }

  async start(...options: string[]): Promise<void> {
    const mode = this.payload === 'copy' ? [] : ['--payload', this.payload];
    const all = [...mode, ...options];
    const isShipped = all.length === 0 && this.#program === 'vifd';
    const command = `ExecStart=\nExecStart=${[this.#program, 'run', ...all].join(' ')}\n`;
    await this.#link();
    const changed = [
      await this.#set('lab.conf', isShipped ? '' : `[Service]\n${command}`),
      await this.#set('workers.conf', this.#workerSettings()),
    ];
    if (changed.includes(true)) await must('systemctl', 'daemon-reload');
    // A test may have started the unit by other ways, with other settings.
    await must('systemctl', 'restart', UNIT);
    await this.#follow();
  }

  async stop(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    if (!this.#running) return;
    if (signal === 'SIGTERM') await must('systemctl', 'stop', UNIT);
    else await this.#killForGood();
    this.#running = false;
    this.#pid = undefined;
  }

  /** SIGKILL to the main process. Resolves when the one that systemd starts by itself serves. */
  async kill(): Promise<void> {
    const before = await unitProperty('MainPID');
    process.kill(Number(before), 'SIGKILL');
    await until('the next process serves', async () => {
      const [pid, state] = [await unitProperty('MainPID'), await unitProperty('ActiveState')];
      return pid !== before && state === 'active';
    });
    await this.#follow();
  }

  update(): void {
    this.#package += 1;
  }

  [Symbol.dispose](): void {
    this.#follower?.kill();
  }

  /**
   * Kills the unit's process without a restart. Since systemd would start the next process at once, it kills while systemd stops the unit.
   * With SIGTERM systemd also sends SIGCONT, so a process that SIGSTOP stopped would detach in an orderly way; a process in a frozen
   * cgroup takes no signal but SIGKILL.
   */
  async #killForGood(): Promise<void> {
    const pid = Number(await unitProperty('MainPID'));
    await writeFile(`${CGROUP}/cgroup.freeze`, '1');
    const isFrozen = async () => /^frozen 1/m.test(await readFile(`${CGROUP}/cgroup.events`, 'utf8'));
    await until('the unit is frozen', isFrozen);
    await must('systemctl', 'stop', '--no-block', UNIT);
    process.kill(pid, 'SIGKILL');
    // ExecStopPost= runs in the same cgroup.
    await writeFile(`${CGROUP}/cgroup.freeze`, '0');
    await until('the unit has ended', async () =>
      ['failed', 'inactive'].includes(await unitProperty('ActiveState')),
    );
    const result = await unitProperty('ExecMainStatus');
    if (result !== `${SIGKILL}`) throw new Error(`vifd ended with ${result}, and was to be killed`);
    // A pattern: a unit that ended without a failure may be unloaded by now, and a name that is not loaded is an error.
    await must('systemctl', 'reset-failed', `${UNIT}*`);
  }

  async #link(): Promise<void> {
    if (this.#package === 0) return;
    const folder = `${MODULES}/${PACKAGES[this.#package % PACKAGES.length]}`;
    await must('ln', '-sfn', `${folder}/dist/vifd.cjs`, PROGRAM);
  }

  /** Returns the text of the drop-in that decides whether the unit has workers. */
  #workerSettings(): string {
    return `[Service]\nEnvironment=VIFD_WORKERS=${this.workers ? 2 : 0}\n`;
  }

  /** @returns whether the drop-in was another one: another object of this class may have left its own. */
  async #set(name: string, text: string): Promise<boolean> {
    const file = `${DROP_IN}/${name}`;
    if ((existsSync(file) ? await readFile(file, 'utf8') : '') === text) return false;
    if (text === '') await rm(file);
    else {
      await mkdir(DROP_IN, { recursive: true });
      await writeFile(file, text);
    }
    return true;
  }

  /** Reads the lines of the process that runs now and of its workers, from its first on. */
  async #follow(): Promise<void> {
    this.#follower?.kill();
    const from = this.events.length;
    this.from = from;
    this.#running = true;
    this.#pid = Number(await unitProperty('MainPID'));
    const invocation = await unitProperty('InvocationID');
    const match = `_SYSTEMD_INVOCATION_ID=${invocation}`;
    const follower = spawn('journalctl', ['-f', '-n', 'all', '-o', 'json', match], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#follower = follower;
    let rest = '';
    follower.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      if (this.#follower !== follower) return;
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      this.events.push(...lines.map((line) => eventIn(JSON.parse(line) as JournalEntry)));
    });
    await until('the unit logs that it serves', () =>
      this.events.slice(from).some(({ event }) => event === 'ready'),
    );
  }
}

/** One property of the unit, as `systemctl show` has it. */
export async function unitProperty(name: string): Promise<string> {
  return (await must('systemctl', 'show', '--value', '-p', name, UNIT)).trim();
}
