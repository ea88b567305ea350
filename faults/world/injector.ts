import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** test/native/system_faults.cc */
const PRELOAD = fileURLToPath(new URL('../../../Release/libsystem_faults.so', import.meta.url));
/** native/xensim/faults */
const LIBRARIES = fileURLToPath(new URL('../../../Release/xensim-faults', import.meta.url));

/** How a system call fails. */
export interface SystemFault {
  /** Symbolic; without it the call is only late. */
  readonly errno?: string;
  readonly delayMs?: number;
  /** Only for paths, or descriptors of files, whose name contains this text. */
  readonly match?: string;
}

/** Makes calls of a running vifd fail. */
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
    return LIBRARIES;
  }

  /** @param call its name in libc. */
  system(call: string, fault: SystemFault | undefined): void {
    const file = join(this.#system, call);
    const { errno = '0', delayMs = 0, match = '' } = fault ?? {};
    if (fault === undefined) rmSync(file, { force: true });
    else writeFileSync(file, `${errno} ${delayMs} ${match}\n`);
  }

  /**
   * @param call as native/xensim/README.md lists them, with `.7` for one domain alone.
   * @param fault an errno, or `DELAY` and milliseconds.
   */
  xen(call: string, fault: string | undefined): void {
    const file = join(this.#xen, call);
    if (fault === undefined) rmSync(file, { force: true });
    else writeFileSync(file, fault);
  }

  /** @param wish what the hook of the program that embeds vifd does (embedded.ts). */
  hook(wish: string | undefined): void {
    const file = join(this.#system, 'hook');
    if (wish === undefined) rmSync(file, { force: true });
    else writeFileSync(file, wish);
  }

  none(): void {
    for (const folder of [this.#system, this.#xen]) {
      for (const file of existsSync(folder) ? readdirSync(folder) : [])
        rmSync(join(folder, file), { force: true });
    }
  }
}
