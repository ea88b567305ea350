import type { EventLog, TakeOver } from '../../lib/daemon/run-log.js';
import { VifdError } from '../../lib/errors.js';
import type { VifDetails } from '../../lib/netback/show.js';
import type { Admission, Named, VifPlace } from '../../lib/netback/vif/directory.js';
import type { VifId, VifState } from '../../lib/netback/vif-info.js';
import { LINK_PROTOCOL } from '../../lib/workers/messages.js';
import type { Predecessor } from '../../lib/workers/remote-vifs.js';
import type { RemoteWorker, WorkerReports, WorkerStart } from '../../lib/workers/running-worker.js';

const ROOT = '/local/domain/0/backend/vif';

export function place(domid: number, handle = 0): VifPlace {
  return { id: `vif${domid}.${handle}`, domid, handle, path: `${ROOT}/${domid}/${handle}` };
}

/** A worker without a process: it responds at once, and dies when the test has it die. */
export class FakeWorker implements RemoteWorker {
  readonly pid: number;
  readonly reports: WorkerReports;
  readonly vifs = new Map<VifId, { state: VifState; reason: string | undefined }>();
  readonly heard: string[] = [];
  readonly signals: NodeJS.Signals[] = [];
  readonly gone: Promise<string>;
  readonly dying: Promise<void>;
  /** Its process shows that it dies; the link is still there. */
  die: () => void = () => {};
  /** What it responds to `found`, or throws. Undefined: it serves the vif. */
  admission: ((place: VifPlace) => Admission | Promise<Admission>) | undefined;
  /** Whether SIGKILL ends it at once, and completely. */
  killable = true;
  /** Whether the kernel says that it ends; it still has its locks and channels. */
  exiting = false;
  /** What came with each `found`. */
  readonly after: Predecessor[] = [];
  /** What its supervisor hears when it reads the rest of the link. */
  rest: () => void = () => {};
  #end: (how: string) => void = () => {};
  #cut: ((error: VifdError) => void)[] = [];
  #lost = false;

  constructor(pid: number, reports: WorkerReports) {
    this.pid = pid;
    this.reports = reports;
    this.gone = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.dying = new Promise((resolve) => {
      this.die = resolve;
    });
  }

  get start(): WorkerStart {
    const signal = (name: NodeJS.Signals) => {
      this.signals.push(name);
      if (name === 'SIGKILL' && this.killable) this.exit(name);
    };
    const isExiting = () => this.exiting;
    const process = { pid: this.pid, gone: this.gone, dying: this.dying, isExiting, signal };
    return { process, remote: this };
  }

  get served(): VifId[] {
    return [...this.vifs.keys()];
  }

  hello(vifs: readonly VifId[] = [], protocol = LINK_PROTOCOL): void {
    for (const id of vifs) this.vifs.set(id, { state: 'connected', reason: undefined });
    this.reports.onHello({ report: 'hello', protocol, version: '0', pid: this.pid, vifs });
  }

  /** The link ends first; the process still has its locks and channels. */
  loseLink(error?: VifdError): void {
    if (this.#lost) return;
    this.#lost = true;
    for (const cut of this.#cut) cut(new VifdError('ERR_STATE', 'The link has ended.'));
    this.reports.onEnd(error);
  }

  /** Its process is gone. */
  exit(how: string): void {
    // First: a SIGKILL, which the supervisor sends as it sees the link's end, changes nothing any more.
    this.#end(how);
    this.loseLink();
  }

  async found(
    at: VifPlace,
    connectedOnly: boolean,
    _descriptors: ReadonlyMap<string, number>,
    after: Predecessor,
  ): Promise<Admission> {
    this.after.push(after);
    this.heard.push(`found ${at.id}${connectedOnly ? ' if connected' : ''}`);
    const cut = new Promise<never>((_, reject) => this.#cut.push(reject));
    const admission = await Promise.race([
      cut,
      Promise.resolve(at).then((one) => this.admission?.(one) ?? 'served'),
    ]);
    if (admission === 'served') this.vifs.set(at.id, { state: 'connected', reason: undefined });
    return admission;
  }

  async show(id: VifId): Promise<VifDetails> {
    return { id } as VifDetails;
  }

  async forget(id: VifId): Promise<void> {
    this.heard.push(`forget ${id}`);
  }

  async end(): Promise<void> {
    this.heard.push('end');
    if (this.killable) queueMicrotask(() => this.exit('code 0'));
  }

  changed(path: string, named: Named): void {
    this.heard.push(`changed ${named === undefined ? 'all' : path}`);
  }

  domainGone(domid: number): void {
    this.heard.push(`domain ${domid} gone`);
  }

  storeReturned(): void {
    this.heard.push('store returned');
  }

  confirm(vifs: readonly VifId[]): void {
    this.heard.push(`confirm ${vifs.join(' ')}`.trimEnd());
  }

  receiveRest(): void {
    this.rest();
  }

  [Symbol.dispose](): void {}
}

/** The lines of a log, as text. */
export class RecordedLog {
  readonly lines: string[] = [];
  readonly tookOvers: TakeOver[] = [];

  readonly log: Pick<EventLog, 'error' | 'mended' | 'parked' | 'tookOver' | 'workerDied' | 'workerStarted'> =
    {
      error: ({ code, message }) => void this.lines.push(`${code} ${message}`),
      mended: ({ code }, _vif) => void this.lines.push(`mended ${code}`),
      parked: (vif, _reason, pauseMs) => void this.lines.push(`parked ${vif} for ${pauseMs / 1000} s`),
      tookOver: (takeOver) => {
        this.tookOvers.push(takeOver);
        const { pid, from, vifs } = takeOver;
        this.lines.push(`${pid} took over from ${from}: ${vifs.join(' ')}`);
      },
      workerDied: (worker, how, vifs) => void this.lines.push(`${worker} died, ${how}: ${vifs.join(' ')}`),
      workerStarted: (worker, standby) =>
        void this.lines.push(`${worker} started${standby ? ' as standby' : ''}`),
    };

  /** @returns the lines since the last call. */
  take(): string[] {
    return this.lines.splice(0);
  }
}
