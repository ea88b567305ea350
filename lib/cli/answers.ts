import { VifdError } from '../errors.js';
import type { Netback } from '../netback/netback.js';
import type { VifDetails } from '../netback/show.js';
import type { VifId } from '../netback/types.js';
import { type QueryServer, type Question, serveQueries } from './query.js';
import type { EventLog } from './run-log.js';

/** The first second of a life is a gap in its guests' network: nobody is answered before it is over. */
const ANSWERS_FROM_MS = 1000;

/** Answers other programs' questions until it is disposed of. Without it guests are served as well: it only says so. */
export function answering(
  directory: string,
  netback: Netback,
  log: Pick<EventLog, 'error'>,
): AsyncDisposable {
  let serving: Promise<QueryServer | undefined> | undefined;
  const later = setTimeout(() => {
    serving = serveQueries(directory, (question) => show(netback, question)).catch((error) => {
      log.error(error, undefined);
      return undefined;
    });
  }, ANSWERS_FROM_MS).unref();
  return {
    async [Symbol.asyncDispose]() {
      clearTimeout(later);
      await (await serving)?.[Symbol.asyncDispose]();
    },
  };
}

/** @throws VifdError ERR_NO_VIF. */
function show({ vifs }: Netback, { vif }: Question): VifDetails[] {
  if (vif === undefined) return [...vifs.values()].map((one) => one.show());
  const found = vifs.get(vif as VifId);
  if (found === undefined) {
    const message = `${vif} is not served by this vifd: \`vifd list\` shows which vifs there are.`;
    throw new VifdError('ERR_NO_VIF', message, { vif });
  }
  return [found.show()];
}
