/** What stands in the way of a world, in one line that names the remedy. */
export class WorldError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'WorldError';
  }
}
