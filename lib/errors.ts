/** Every code that vifd throws. Stable: programs may compare them. docs/errors.md explains each. */
export type VifdErrorCode =
  | 'ERR_ADDON_MISSING' // the native addon was not built
  | 'ERR_XEN_UNAVAILABLE' // libraries, device nodes or rights are missing
  | 'ERR_XEN_GRANT' // a grant could not be mapped
  | 'ERR_XEN_EVENT' // an event channel could not be bound
  | 'ERR_STORE' // xenstore answered with an error; `errno` names it
  | 'ERR_STORE_GONE' // the connection to xenstore is lost; it is tried again for ever
  | 'ERR_NODE_GONE' // xenstored came back without a vif's node; the guest stays attached
  | 'ERR_HOST' // a call of the host's own failed, for no fault of the guest; it is tried again
  | 'ERR_HOOK' // a hook threw or returned what is no verdict; the frame was dropped
  | 'ERR_JOURNAL' // a journal file could not be opened or mapped
  | 'ERR_JOURNAL_VERSION' // a journal is laid out as another vifd does, and this one does not read it
  | 'ERR_RUNNING' // another vifd serves from the same runtime directory
  | 'ERR_NOT_RUNNING' // no vifd runs, and one is needed
  | 'ERR_QUERY' // a running vifd cannot be asked
  | 'ERR_NO_VIF' // there is no such vif, or it went meanwhile
  | 'ERR_OWNER' // the vif is with whom it is to go to already, or cannot go there as it is
  | 'ERR_KERNEL_DRIVER' // the kernel's xen-netback refused, or did not serve in time
  | 'ERR_LINK' // something is wrong with a network interface or its bridge
  | 'ERR_PROGRAM' // a program of the system failed
  | 'ERR_TIMEOUT' // another process did not do its part in time
  | 'ERR_TAP' // a tap could not be opened or set up, or it was deleted
  | 'ERR_TAP_LIMIT' // the kernel refused the program that bounds what waits in taps; short queues bound it
  | 'ERR_SERVICE_MANAGER' // the socket in NOTIFY_SOCKET could not be written to
  | 'ERR_STATE' // the call does not fit the object's state, e.g. use after disposal
  | 'ERR_ARGUMENT' // an argument or a configuration value is unusable
  | 'ERR_PACED' // a guest connects so often that its next connection waits
  | 'ERR_STALLED' // a guest has had frames waiting for a minute, and took none
  | 'ERR_PROTOCOL'; // a frontend broke the netif protocol

export interface VifdErrorDetails {
  /** Symbolic errno, e.g. 'ENOENT', where the system gave one. */
  readonly errno?: string;
  /** The vif concerned, as xl prints it: `vif7.0`. */
  readonly vif?: string;
  readonly cause?: unknown;
}

/** The one error class of vifd. The message names the thing, the value and the remedy. */
export class VifdError extends Error {
  readonly code: VifdErrorCode;
  readonly errno: string | undefined;
  readonly vif: string | undefined;

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

/** What to do about an errno of the host's. */
export function hostRemedy(errno: string): string {
  return REMEDIES[errno] ?? 'see `dmesg`';
}

/**
 * A call of the host's own has failed, for no fault of a guest. It is tried again, at most a second apart.
 * @param what failed, e.g. `copying frames from the guest`.
 */
export function hostFault(what: string, errno: string): VifdError {
  const message = `${what} failed (${errno}): vifd tries again until it works; ${hostRemedy(errno)}.`;
  return new VifdError('ERR_HOST', message, { errno });
}

/** The error of a caller that tries again, which an error of the store cannot know. */
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

/** What was thrown, as a VifdError: an error of another class gets the code ERR_STATE and is its cause. */
export function vifdErrorOf(thrown: unknown): VifdError {
  if (thrown instanceof VifdError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new VifdError('ERR_STATE', message, { cause: thrown });
}
