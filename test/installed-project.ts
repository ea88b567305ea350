import { type ExecFileSyncOptionsWithStringEncoding, execFile, execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const TSC = resolve('node_modules/typescript/bin/tsc');

/** A project of a user's own that has installed the tarball of `npm pack`, in a folder for temporary files. */
export class InstalledProject implements Disposable {
  /** Where its package.json is. */
  readonly folder: string;

  /** Packs what is built, and installs it as the README has it: without a network and without vifd's install script. */
  constructor() {
    this.folder = mkdtempSync(join(tmpdir(), 'vifd-project-'));
    const quiet: ExecFileSyncOptionsWithStringEncoding = {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    };
    const pack = ['pack', '--ignore-scripts', '--silent', '--pack-destination', this.folder];
    const tarball = execFileSync('npm', pack, quiet).trim();
    writeFileSync(join(this.folder, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
    const install = [
      'install',
      '--offline',
      '--ignore-scripts',
      '--omit=optional',
      '--no-audit',
      '--no-fund',
    ];
    execFileSync('npm', [...install, `./${tarball}`], { ...quiet, cwd: this.folder });
  }

  /** Copies the programs of a folder into the project. */
  copy(from: string): void {
    for (const file of readdirSync(from))
      cpSync(join(from, file), join(this.folder, file), { recursive: true });
  }

  /**
   * Compiles files with strict options and those of `options`, and checks vifd's own declarations, too.
   * @throws the compiler's output.
   */
  async compile(files: readonly string[], options: Record<string, unknown>): Promise<void> {
    const config = 'tsconfig.json';
    const compilerOptions = {
      target: 'es2022',
      strict: true,
      exactOptionalPropertyTypes: true,
      noUnusedLocals: true,
      verbatimModuleSyntax: true,
      types: ['node'],
      typeRoots: [resolve('node_modules/@types')],
      ...options,
    };
    writeFileSync(join(this.folder, config), JSON.stringify({ compilerOptions, files }));
    try {
      await run(process.execPath, [TSC, '-p', this.folder]);
    } catch (error) {
      throw new Error((error as { stdout: string }).stdout);
    }
  }

  /** Runs a program of the project to its end. @returns what it printed. @throws if it fails, or does not end within a minute. */
  async run(args: readonly string[], { node = process.execPath, env = {} } = {}): Promise<string> {
    const options = { cwd: this.folder, env: { ...process.env, ...env }, timeout: 60_000 };
    const { stdout, stderr } = await run(node, [...args], options);
    return stdout + stderr;
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true });
  }
}
