import { existsSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { VifdError } from '../errors.js';

/** What of an interface a change of its driver must not change. */
export interface LinkSettings {
  /** The Linux bridge that it is in. */
  readonly bridge?: string;
  readonly mac: string;
  readonly mtu: number;
  readonly up: boolean;
  /** Flags of the bridge's port that have been set, by their names in sysfs. */
  readonly port: Readonly<Record<string, string>>;
}

/** The machine's network interfaces. */
export interface Links {
  exists(name: string): boolean;
  /** It is in a bridge, or in something else that takes its frames. */
  hasMaster(name: string): boolean;
  /** @throws VifdError ERR_LINK when it is in something that is not a Linux bridge, or not there. */
  read(name: string): LinkSettings;
  /** Sets the flags of its bridge's port, and whether it is up: the last steps of setting it up. */
  finish(name: string, settings: LinkSettings): void;
}

const NET = '/sys/class/net';
/** net/if.h */
const IFF_UP = 1;

/** net/bridge/br_sysfs_if.c: what decides which frames cross. Costs and priorities follow from the driver's speed. */
const PORT_FLAGS = [
  'isolated',
  'learning',
  'unicast_flood',
  'multicast_flood',
  'broadcast_flood',
  'hairpin_mode',
  'bpdu_guard',
  'root_block',
];

export class SysfsLinks implements Links {
  protected readonly root: string;

  constructor(root = NET) {
    this.root = root;
  }

  exists(name: string): boolean {
    return existsSync(`${this.root}/${name}`);
  }

  hasMaster(name: string): boolean {
    return existsSync(`${this.root}/${name}/master`);
  }

  read(name: string): LinkSettings {
    const folder = `${this.root}/${name}`;
    try {
      const bridge = this.bridgeOf(name);
      return {
        ...(bridge === undefined ? {} : { bridge }),
        mac: text(`${folder}/address`),
        mtu: Number(text(`${folder}/mtu`)),
        up: (Number(text(`${folder}/flags`)) & IFF_UP) !== 0,
        port: bridge === undefined ? {} : this.#portFlags(name),
      };
    } catch (cause) {
      if (cause instanceof VifdError) throw cause;
      throw new VifdError(
        'ERR_LINK',
        `The interface ${name} cannot be looked at: ${(cause as Error).message}.`,
        {
          cause,
        },
      );
    }
  }

  finish(name: string, { port, up }: LinkSettings): void {
    const folder = `${this.root}/${name}`;
    for (const [flag, value] of Object.entries(port)) {
      if (text(`${folder}/brport/${flag}`) !== value) this.write(name, `brport/${flag}`, value);
    }
    const flags = Number(text(`${folder}/flags`));
    const wanted = up ? flags | IFF_UP : flags & ~IFF_UP;
    if (wanted !== flags) this.write(name, 'flags', `0x${wanted.toString(16)}`);
  }

  protected bridgeOf(name: string): string | undefined {
    const folder = `${this.root}/${name}`;
    if (!this.hasMaster(name)) return undefined;
    const master = basename(readlinkSync(`${folder}/master`));
    if (existsSync(`${folder}/brport`)) return master;
    throw new VifdError(
      'ERR_LINK',
      `${name} is in ${master}, which is not a Linux bridge: vifd cannot put its tap into that.`,
    );
  }

  #portFlags(name: string): Record<string, string> {
    const flags: Record<string, string> = {};
    for (const flag of PORT_FLAGS) {
      const file = `${this.root}/${name}/brport/${flag}`;
      // Kernels differ in which they have.
      if (existsSync(file)) flags[flag] = text(file);
    }
    return flags;
  }

  protected write(name: string, file: string, value: string): void {
    try {
      writeFileSync(`${this.root}/${name}/${file}`, value, { flag: 'r+' });
    } catch (cause) {
      const errno = (cause as NodeJS.ErrnoException).code ?? 'EIO';
      const message = `${name}: setting ${basename(file)} to ${value} failed (${errno}).`;
      throw new VifdError('ERR_LINK', message, { errno, cause });
    }
  }
}

export function text(file: string): string {
  return readFileSync(file, 'utf8').trim();
}
