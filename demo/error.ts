/** What stands in the way of the demo, in one line that names the remedy. */
export class DemoError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'DemoError';
  }
}
