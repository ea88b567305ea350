import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { XENSIM_LIBRARIES } from '../../lib/demo/programs.js';

/** test/native/system_faults.cc */
const PRELOAD = fileURLToPath(new URL('../../../Release/libsystem_faults.so', import.meta.url));

/** How a call of the system fails. */
export interface SystemFault {
  /** Symbolic; without one the call is only late. */
  readonly errno?: string;
  readonly delayMs?: number;
  /** Only where the path, or what the descriptor is open on, contains this. */
  readonly match?: string;
}

/** Makes calls of vifd fail, while it runs. */
export class Injector {
  readonly #system: string;
  readonly #xen: string;

  constructor(directory: string) {
    this.#system = join(directory, 'system-faults');
    this.#xen = join(directory, 'xen-faults');
    for (const folder of [this.#system, this.#xen]) mkdirSync(folder, { recursive: true });
  }

  get env(): NodeJS.ProcessEnv {
    return { SYSTEM_FAULTS: this.#system, XENSIM_FAULTS: this.#xen, LD_PRELOAD: PRELOAD };
  }

  get libraries(): string {
    return XENSIM_LIBRARIES;
  }

  /** @param call its name in libc. */
  system(call: string, fault: SystemFault | undefined): void {
    const file = join(this.#system, call);
    if (fault === undefined) return rmSync(file, { force: true });
    const { errno = '0', delayMs = 0, match = '' } = fault;
    writeFileSync(file, `${errno} ${delayMs} ${match}\n`);
  }

  none(): void {
    for (const folder of [this.#system, this.#xen]) {
      for (const file of existsSync(folder) ? readdirSync(folder) : []) rmSync(join(folder, file), { force: true });
    }
  }
}
