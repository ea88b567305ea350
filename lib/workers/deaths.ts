import { readFileSync } from 'node:fs';

/** Within this time deaths are counted together. */
const MINUTE_MS = 60_000;
/** So many deaths within a minute raise the suspicion that one of the vifs kills its workers. */
const DEATHS_MAX = 3;
/** What ends a process that has no defect: a guest cannot cause one of these, except that it may use up memory. */
const FROM_OUTSIDE = new Set(['SIGKILL', 'SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'code 0']);

interface Death {
  /** Monotonic. */
  readonly atMs: number;
}

/** The deaths of one slot's workers that a vif may have caused. */
export class Deaths {
  readonly #oomKills: () => number;
  #oomKillsBefore: number;
  #recent: Death[] = [];

  /** @param oomKills returns how many processes the kernel has killed so far because memory ran out. */
  constructor(oomKills: () => number) {
    this.#oomKills = oomKills;
    this.#oomKillsBefore = oomKills();
  }

  /** Whether so many are no chance. */
  get areTooMany(): boolean {
    return this.#recent.length >= DEATHS_MAX;
  }

  /**
   * Adds a death. It counts until it is known that the process was killed from outside: by an operator, a test or a service manager.
   * @param how is `RunningWorker.gone`, which names the reason if the supervisor itself killed it.
   * @returns whether it counts, once that is known.
   */
  add(nowMs: number, how: Promise<string>): Promise<boolean> {
    const death = { atMs: nowMs };
    this.#recent = [...this.#recent.filter(({ atMs }) => nowMs - atMs < MINUTE_MS), death];
    return how.then((text) => {
      if (!this.#isFromOutside(text)) return true;
      this.#recent = this.#recent.filter((one) => one !== death);
      return false;
    });
  }

  clear(): void {
    this.#recent = [];
  }

  #isFromOutside(how: string): boolean {
    const before = this.#oomKillsBefore;
    this.#oomKillsBefore = this.#oomKills();
    // The kernel kills by SIGKILL, too, and it may have been this worker whose memory grew.
    return FROM_OUTSIDE.has(how) && this.#oomKillsBefore === before;
  }
}

/** Returns the kernel's own count since the host's start (Linux 4.13); 0 where it has none. @param file that of procfs. */
export function oomKills(file = '/proc/vmstat'): number {
  try {
    return Number(/^oom_kill (\d+)$/m.exec(readFileSync(file, 'latin1'))?.[1] ?? 0);
  } catch {
    // Without procfs no death by memory is recognised, and it is an outside kill like any other.
    return 0;
  }
}
