/** Why the client cannot connect, and what an operator can do. */
import { hostRemedy, unended, VifdError } from '../../errors.js';

export const START_XENSTORED = 'start xenstored';

/** Errnos that mean "no xenstored serves at this path"; a xenstored that hangs is included. */
const ABSENT: ReadonlySet<string> = new Set([
  ...['ENOENT', 'ENOTDIR', 'ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'EAGAIN', 'ETIMEDOUT', 'ENXIO', 'ENODEV'],
]);

export interface Hindrance {
  readonly what: string;
  readonly remedy: string;
  readonly errno: string;
}

/** Whether an errno means that no xenstored serves. An undefined errno means that too. */
export function isAbsence(errno: string | undefined): boolean {
  return errno === undefined || ABSENT.has(errno);
}

/** @param error why an attempt to connect failed. */
export function hindranceOf(error: unknown): Hindrance {
  if (isRefusal(error)) {
    const { errno, message } = error;
    const what = `xenstored is there and refuses a watch that vifd needs (${errno})`;
    return { what, remedy: unended(message), errno };
  }
  const errno = errnoOr(failedWith(error), 'ECONNREFUSED');
  if (isAbsence(errno))
    return { what: `No xenstored can be connected to (${errno})`, remedy: START_XENSTORED, errno };
  return { what: `xenstored cannot be connected to (${errno})`, remedy: hostRemedy(errno), errno };
}

/** Whether the error is an ERROR reply to a request on the new connection, and not the loss of the connection. */
function isRefusal(error: unknown): error is VifdError & { errno: string } {
  return error instanceof VifdError && error.code === 'ERR_STORE' && error.cause === undefined;
}

/** Returns the error to report. Of several paths, that is the one whose errno means something else than "no xenstored". */
function failedWith(error: unknown): unknown {
  const { cause } = error as Error;
  if (!(cause instanceof AggregateError)) return cause ?? error;
  const { errors } = cause;
  return errors.find((one) => !isAbsence(errnoOr(one, 'ECONNREFUSED'))) ?? errors[0];
}

/** Returns the errno of a system error. */
export function errnoOr(error: unknown, fallback: string): string {
  const { code } = error as NodeJS.ErrnoException;
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? code : fallback;
}
