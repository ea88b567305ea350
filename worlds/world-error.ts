/** A reason why a world cannot be built, in one line that names the remedy. */
export class WorldError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'WorldError';
  }
}
