import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline';

/** Node has no unix datagram sockets; perl belongs to every Debian system. */
const RECEIVER = `
  use Socket; $| = 1;
  my $path = $ARGV[0];
  $path =~ s/^\\@/\\0/;
  socket(S, AF_UNIX, SOCK_DGRAM, 0) && bind(S, pack_sockaddr_un($path)) or die $!;
  print "bound\\n";
  while (defined recv(S, my $text, 65536, 0)) { $text =~ s/\\n/;/g; print "$text\\n" }`;

export const whyNoDatagrams: string | undefined =
  spawnSync('perl', ['-MSocket', '-e', '1']).status === 0
    ? undefined
    : 'needs perl, for a unix datagram socket';

/** A bound unix datagram socket, as a service manager has. */
export class Datagrams implements Disposable {
  /** Each datagram as it came, with ';' for a line feed. */
  readonly received: string[] = [];
  readonly #process: ChildProcess;
  #wake = () => {};

  private constructor(path: string) {
    this.#process = spawn('perl', ['-e', RECEIVER, path], { stdio: ['ignore', 'pipe', 'inherit'] });
    createInterface(this.#process.stdout!).on('line', (line) => {
      this.received.push(line);
      this.#wake();
    });
  }

  /** @param path where to bind; '@' first: in the abstract namespace. */
  static async bind(path: string): Promise<Datagrams> {
    const datagrams = new Datagrams(path);
    await datagrams.until('bound');
    datagrams.received.shift();
    return datagrams;
  }

  async until(text: string): Promise<void> {
    while (!this.received.some((line) => line.includes(text))) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  [Symbol.dispose](): void {
    this.#process.kill();
  }
}
