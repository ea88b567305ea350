import { VifdError } from '../../lib/errors.js';
import type { FileLock } from '../../lib/host/file-lock.js';
import type { LockedVif, VifLocks } from '../../lib/host/vif-locks.js';

/** The process that takes locks. */
interface Locker {
  readonly pid: number;
  readonly alive: boolean;
  /** Called before each store that others can observe. */
  step(what: string): void;
}

/** The locks of vifs as the kernel has them: of a process until it is gone, and not only until it runs no more. */
export class SimLocks {
  readonly #holders = new Map<string, number>();

  holder({ id }: LockedVif): number | undefined {
    return this.#holders.get(id);
  }

  of(process: Locker): Pick<VifLocks, 'take' | 'holder'> {
    return {
      holder: (vif) => this.holder(vif),
      take: (vif) => this.#take(vif, process),
    };
  }

  /** The process is gone. */
  gone(pid: number): void {
    for (const [id, holder] of this.#holders) if (holder === pid) this.#holders.delete(id);
  }

  #take({ id }: LockedVif, process: Locker): FileLock {
    process.step(`lock of ${id}`);
    const holder = this.#holders.get(id);
    if (holder !== undefined) {
      const message = `Another vifd (process ${holder}) serves ${id}: end it first.`;
      throw new VifdError('ERR_RUNNING', message, { vif: id });
    }
    this.#holders.set(id, process.pid);
    return {
      stands: true,
      // Code of a killed process that runs on in the simulation releases nothing.
      [Symbol.dispose]: () => {
        if (process.alive && this.#holders.get(id) === process.pid) this.#holders.delete(id);
      },
    };
  }
}
