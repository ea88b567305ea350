import type { Netback, NetbackListeners } from '../netback/netback.js';
import { writeLine } from './output.js';

export interface EventLog extends NetbackListeners {
  ready(netback: Netback): void;
  /** A vif that went while no vifd ran. */
  swept(vif: string): void;
  stopping(): void;
}

/** What `vifd run` says: sentences on stderr for people, or one JSON object a line on stdout for programs. */
export function eventLog(json: boolean): EventLog {
  const say = (text: string, event: Record<string, unknown>) => {
    if (json) writeLine(1, JSON.stringify({ schemaVersion: 1, timeMs: Date.now(), ...event }));
    else writeLine(2, text);
  };
  return {
    ready: (netback) =>
      say(`serving ${netback.vifs.size} vifs`, { event: 'ready', vifs: [...netback.vifs.keys()] }),
    swept: (vif) => say(`${vif} is gone: its tap and journal were removed`, { event: 'swept', vif }),
    stopping: () => say('detaching; guests stay connected', { event: 'stopping' }),
    attached: (vif, { resumed, attachMs }) =>
      say(`${vif.id} ${resumed ? 'attached again' : 'attached'} in ${attachMs.toFixed(1)} ms`, {
        event: 'attached',
        vif: vif.id,
        resumed,
        attachMs,
      }),
    detached: (vif, why) =>
      say(`${vif.id} detached: ${why}`, { event: 'detached', vif: vif.id, why, stats: vif.stats }),
    recovered: (vif, queue) =>
      say(`${vif.id} takes frames again${vif.queueStats.length > 1 ? ` by queue ${queue}` : ''}`, {
        event: 'recovered',
        vif: vif.id,
        queue,
      }),
    mended: (error, vif) =>
      say(`mended: ${error.message}`, {
        event: 'mended',
        vif: vif?.id,
        code: error.code,
        message: error.message,
      }),
    error: (error, vif) =>
      say(error.message, { event: 'error', vif: vif?.id, code: error.code, message: error.message }),
  };
}
