import type { ERROR_ROWS } from './error-table.js';

/** Every code that vifd throws. Stable: programs may compare them. lib/error-table.ts has a row for each, and docs/errors.md shows it. */
export type VifdErrorCode = keyof typeof ERROR_ROWS;

/** What a VifdError has besides code and message. */
export interface VifdErrorDetails {
  /** Symbolic errno, e.g. 'ENOENT', where the system gave one. */
  readonly errno?: string;
  /** The vif concerned, as xl prints it: `vif7.0`. */
  readonly vif?: string;
  /** The error that led to this one. */
  readonly cause?: unknown;
}

/** The one error class of vifd. The message names the thing, the value and the remedy. */
export class VifdError extends Error {
  /** What kind of error this is. Programs compare it, and never the message, which may change. */
  readonly code: VifdErrorCode;
  /** Symbolic errno, as 'ENOENT', where the system gave one. */
  readonly errno: string | undefined;
  /** The vif concerned, as xl prints it: `vif7.0`. */
  readonly vif: string | undefined;

  /** @param code one of docs/errors.md. @param message what happened, to which vif, why, and what to do. */
  constructor(code: VifdErrorCode, message: string, details: VifdErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'VifdError';
    this.code = code;
    this.errno = details.errno;
    this.vif = details.vif;
  }
}

const REMEDIES: Record<string, string> = {
  EMFILE: "raise the process's limit of open files (LimitNOFILE= of its unit)",
  ENFILE: "raise the machine's limit of open files (sysctl fs.file-max)",
  ENOBUFS: 'free memory of the host',
  ENOMEM: 'free memory of the host, or raise vm.max_map_count',
  ENOSPC: 'free space',
  EACCES: 'run vifd as root',
  EPERM: 'run vifd as root',
};

/** Returns what an operator can do about an errno of the host. */
export function hostRemedy(errno: string): string {
  return REMEDIES[errno] ?? 'see `dmesg`';
}

/**
 * Returns the error for a call that the host failed, for no fault of a guest. The caller tries again, with pauses of at most a second.
 * @param what failed, e.g. `copying frames from the guest`.
 */
export function hostFault(what: string, errno: string): VifdError {
  const message = `${what} failed (${errno}): vifd tries again until it works; ${hostRemedy(errno)}.`;
  return new VifdError('ERR_HOST', message, { errno });
}

/** Returns the error with the addition that vifd tries again: the caller does, which an error of the store cannot know. */
export function retried(thrown: unknown): VifdError {
  const error = vifdErrorOf(thrown);
  const { code, message, errno, vif } = error;
  if (code !== 'ERR_STORE') return error;
  const details = {
    cause: error,
    ...(errno === undefined ? {} : { errno }),
    ...(vif === undefined ? {} : { vif }),
  };
  return new VifdError(code, `${unended(message)}; vifd tries again.`, details);
}

/** Returns a sentence without its full stop, to be continued. */
export function unended(sentence: string): string {
  return sentence.endsWith('.') ? sentence.slice(0, -1) : sentence;
}

/**
 * Returns the thrown value as a VifdError. For an error of another class, the result has the code ERR_STATE and that error as its cause.
 */
export function vifdErrorOf(thrown: unknown): VifdError {
  if (thrown instanceof VifdError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new VifdError('ERR_STATE', message, { cause: thrown });
}
