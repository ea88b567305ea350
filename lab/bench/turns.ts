import { writeFile } from 'node:fs/promises';
import { holdDriverBack } from '../drive/driver.js';
import { Guest } from '../drive/guest.js';
import { must } from '../drive/process.js';
import { serve } from '../drive/traffic.js';
import { type Effort, measure } from './measure.js';
import type { Subject } from './subjects.js';
import type { Turn } from './xen-report.js';

/** In a dom0 that has xen-netback: returns a guest that no driver serves until a test binds one. */
export async function guestForTurns(): Promise<Guest> {
  const guest = await Guest.running('g1');
  await holdDriverBack();
  await must('guest', 'unbind', guest.name);
  await forgetTcpMetrics(guest);
  await serve(guest);
  return guest;
}

/** Otherwise a connection begins with what the last one, over another backend, learned about losses. */
async function forgetTcpMetrics(guest: Guest): Promise<void> {
  const file = '/proc/sys/net/ipv4/tcp_no_metrics_save';
  await writeFile(file, '1');
  await guest.exec(`echo 1 >${file}`);
}

/**
 * Each subject has one turn in a round, in alternating order, so that none always follows the same one.
 * @param onTurn gets all turns so far after each, because the machine may fail before the end.
 */
export async function takeTurns(
  subjects: readonly Subject[],
  effort: Effort,
  say: (text: string) => void,
  onTurn: (turns: readonly Turn[]) => void = () => {},
): Promise<readonly Turn[]> {
  const turns: Turn[] = [];
  for (let round = 0; round < effort.rounds; round++) {
    for (const subject of round % 2 === 0 ? subjects : subjects.toReversed()) {
      await subject.begin();
      const values = await measure(subject, effort, (text) => say(`[${round + 1}/${effort.rounds}] ${text}`));
      await subject.end();
      turns.push({ round, subject: subject.name, values });
      onTurn(turns);
    }
  }
  return turns;
}
