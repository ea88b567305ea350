import { type LinkSettings, type Links, SysfsLinks, text } from './links.js';
import { runProgram } from './program.js';

/** Interfaces that can be set up as others were. Apart from `SysfsLinks`: a daemon that starts needs no programs. */
export interface LinkSetup extends Links {
  /** In the order that shows a bridge nothing but the final address and MTU; going up is last. */
  apply(name: string, settings: LinkSettings): Promise<void>;
}

export class SystemLinks extends SysfsLinks implements LinkSetup {
  readonly #ip: (...args: string[]) => Promise<void>;

  constructor(root?: string, ip = (...args: string[]) => runProgram('ip', ...args)) {
    super(root);
    this.#ip = ip;
  }

  async apply(name: string, settings: LinkSettings): Promise<void> {
    const { bridge, mac, mtu } = settings;
    const folder = `${this.root}/${name}`;
    if (Number(text(`${folder}/mtu`)) !== mtu) this.write(name, 'mtu', `${mtu}`);
    const joins = bridge === undefined || this.bridgeOf(name) === bridge ? [] : ['master', bridge];
    if (text(`${folder}/address`) !== mac || joins.length > 0)
      await this.#ip('link', 'set', 'dev', name, 'address', mac, ...joins);
    this.finish(name, settings);
  }
}
