import { addon } from '../../lib/addon.js';

/** @returns why native tests cannot run here, for `skipIf`. */
export function whyNoAddon(): string | undefined {
  try {
    addon();
    return undefined;
  } catch (error) {
    return String(error);
  }
}
