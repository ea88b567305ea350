import { GUEST_PROGRAM } from '../places.js';
import { Child, command, enter, GUARD, parseEvent } from './children.js';
import type { DomainProgram } from './process-world.js';

/** The guest's interface, in its own network namespace. */
export const GUEST_DEVICE = 'eth0';

export interface GuestProcessPlan {
  readonly name: string;
  readonly domid: number;
  readonly mac: string;
  readonly program: DomainProgram;
  /** Options of the guests' program, in addition to those of every guest. */
  readonly options?: readonly string[];
  /** Called with each event that the guest prints, and its line. */
  readonly onEvent: (event: Record<string, unknown>, line: string) => void;
}

/** Starts a guest: a process that is a netfront, in a network namespace of its own, whose TCP/IP is Linux's. */
export function startGuest(plan: GuestProcessPlan): Promise<Child> {
  const { name, domid, mac, program, options = [], onEvent } = plan;
  return Child.start({
    name,
    command: [
      ...['unshare', '--net', '--', ...GUARD, process.execPath, GUEST_PROGRAM],
      ...['--domid', `${domid}`, '--tap', GUEST_DEVICE, '--mac', mac, ...program.options, ...options],
    ],
    env: program.env,
    onLine: (line) => {
      const event = parseEvent(line);
      if (event !== undefined) onEvent(event, line);
    },
  });
}

/** Runs ip(8) in the guest's namespace. */
export function ipInside(guest: Child, ...words: readonly string[]): Promise<string> {
  return command(...enter(guest.pid), 'ip', ...words);
}
