import { fstatSync } from 'node:fs';

/** Whether a descriptor leads to journald, by device and inode (JOURNAL_STREAM, sd-daemon(3)). */
export function isJournald(descriptor: number, env: NodeJS.ProcessEnv = process.env): boolean {
  const stream = env.JOURNAL_STREAM;
  if (!stream) return false;
  try {
    const { dev, ino } = fstatSync(descriptor, { bigint: true });
    return stream === `${dev}:${ino}`;
  } catch {
    // A descriptor that is not open does not lead to journald.
    return false;
  }
}
