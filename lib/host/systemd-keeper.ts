import type { DescriptorKeeper } from './descriptor-keeper.js';
import type { NotifySocket } from './notify-socket.js';

/** SD_LISTEN_FDS_START. */
const FIRST_INHERITED = 3;

/** systemd's file descriptor store (FileDescriptorStoreMax=, sd_notify(3)): the next process inherits its descriptors. */
export class SystemdKeeper implements DescriptorKeeper {
  readonly #socket: NotifySocket | undefined;
  readonly #inherited: Map<string, number>;

  /**
   * @param socket undefined if there is none: then nothing is stored, and `take` still returns inherited descriptors.
   * @param inherited descriptors by name.
   */
  constructor(socket: NotifySocket | undefined, inherited: ReadonlyMap<string, number>) {
    this.#socket = socket;
    this.#inherited = new Map(inherited);
  }

  take(name: string): number | undefined {
    const descriptor = this.#inherited.get(name);
    this.#inherited.delete(name);
    return descriptor;
  }

  keep(name: string, descriptor: number): void {
    this.#socket?.send(name, `FDSTORE=1\nFDNAME=${name}`, descriptor);
  }

  forget(name: string): void {
    this.#socket?.send(name, `FDSTOREREMOVE=1\nFDNAME=${name}`);
  }
}

/**
 * Returns the descriptors that a service manager stored for this process, by name (sd_listen_fds_with_names(3)).
 * Of several with one name it returns the last. Deletes the variables of the environment, since children do not inherit the descriptors.
 */
export function inheritedDescriptors(env: NodeJS.ProcessEnv = process.env): Map<string, number> {
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES } = env;
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete env[name];
  const descriptors = new Map<string, number>();
  if (LISTEN_PID !== `${process.pid}`) return descriptors;
  const names = (LISTEN_FDNAMES ?? '').split(':');
  for (let i = 0; i < Number(LISTEN_FDS) && i < names.length; i++)
    descriptors.set(names[i], FIRST_INHERITED + i);
  return descriptors;
}
