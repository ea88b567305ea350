import { Child, GUARD } from '../../worlds/processes/children.js';

export interface ProgramPlan {
  readonly name: string;
  /** Of node: the program, and its own. */
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
}

/** A program that sends a message when it is ready, and then a message in reply to each that it gets. */
export class Conversation implements AsyncDisposable {
  #child!: Child;
  readonly #heard: unknown[] = [];
  #wake: (() => void) | undefined;

  /** Resolves when the program is ready. @throws when it ends before. */
  static async start({ name, args, env }: ProgramPlan): Promise<Conversation> {
    const conversation = new Conversation();
    conversation.#child = await Child.start({
      name,
      command: [...GUARD, process.execPath, ...args],
      env,
      onMessage: (message) => conversation.#hear(message),
    });
    await conversation.#next();
    return conversation;
  }

  private constructor() {}

  get pid(): number {
    return this.#child.pid;
  }

  get running(): boolean {
    return this.#child.running;
  }

  /** One at a time. @throws when the program ends instead of replying. */
  async ask<Reply>(message: object): Promise<Reply> {
    this.#child.send(message);
    return (await this.#next()) as Reply;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child.end('SIGKILL');
  }

  #hear(message: unknown): void {
    this.#heard.push(message);
    this.#wake?.();
  }

  async #next(): Promise<unknown> {
    if (this.#heard.length === 0) {
      const heard = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      await Promise.race([heard, this.#child.ended]);
    }
    if (this.#heard.length > 0) return this.#heard.shift();
    throw new Error(`${this.#child.name} ended (${await this.#child.ended}): ${this.#child.lastWords}`);
  }
}
