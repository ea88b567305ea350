import { rmSync } from 'node:fs';
import { VifdError } from '../errors.js';
import type { Netback } from '../netback/netback.js';
import type { VifId } from '../netback/vif-info.js';
import { type FaultLog, Insist } from '../runtime/insist.js';
import { LOOK_MS, type PatientLock } from '../runtime/patient-lock.js';
import { systemClock } from '../xen/native/clock.js';
import {
  type DaemonDetails,
  detailsJson,
  type ProcessDetails,
  type ServedDetails,
  type VifWorker,
} from './details-json.js';
import { type QueryServer, type Question, serveQueries } from './query.js';

/** What other programs ask about: a netback, or the vifs of all workers. */
export interface Queried extends Pick<Netback, 'faults' | 'forget'> {
  readonly vifs: ReadonlyMap<VifId, { show(): ServedDetails | Promise<ServedDetails> }>;
  /** Undefined where one process serves all vifs. */
  readonly processes?: readonly ProcessDetails[];
  /** The same. */
  readonly workers?: readonly VifWorker[];
}

/** vifd responds to no question in its first second, while its guests wait for their network. */
const SERVES_AFTER_MS = 1000;

/**
 * Responds to other programs' questions until it is disposed of. If the socket cannot be created, or is deleted later, vifd serves guests all
 * the same, reports the error and tries again until the socket exists.
 * @param lock while this process does not have it, an existing socket may belong to another vifd.
 */
export function queryService(
  directory: string,
  served: Queried,
  lock: Pick<PatientLock, 'stands'>,
  log: FaultLog,
): AsyncDisposable {
  let server: QueryServer | undefined;
  let serving: Promise<void> | undefined;
  const insist = new Insist(systemClock, log, async () => {
    const before = server;
    server = undefined;
    if (before !== undefined) {
      rmSync(before.path, { force: true, recursive: true });
      await before[Symbol.asyncDispose]();
      // This attempt reports the loss; the next one creates the socket.
      throw socketGone(before.path);
    }
    server = await serveQueries(
      directory,
      (question) => respond(served, question),
      (error) => {
        server = undefined;
        insist.fail(error);
      },
    );
  });
  const later = setTimeout(() => {
    serving = insist.run();
  }, SERVES_AFTER_MS).unref();
  const looking = setInterval(() => {
    if (server?.stands === false && lock.stands) serving = insist.run();
  }, LOOK_MS).unref();
  return {
    async [Symbol.asyncDispose]() {
      clearTimeout(later);
      clearInterval(looking);
      insist[Symbol.dispose]();
      await serving;
      await server?.[Symbol.asyncDispose]();
    },
  };
}

function socketGone(path: string): VifdError {
  const message = `The socket ${path} was deleted while vifd runs, so \`vifd show\` does not work; vifd creates the socket again.`;
  return new VifdError('ERR_QUERY', message);
}

async function respond(
  served: Queried,
  question: Question,
): Promise<DaemonDetails | readonly VifWorker[] | undefined> {
  if (question.ask === 'workers') return served.workers ?? [];
  if (question.ask === 'show') return show(served, question.vif);
  await served.forget(question.vif as VifId);
  return undefined;
}

/** @throws VifdError ERR_NO_VIF. */
async function show(served: Queried, vif: string | undefined): Promise<DaemonDetails> {
  const { vifs, faults } = served;
  if (vif === undefined) {
    const { processes } = served;
    const shown = await Promise.all([...vifs.values()].map((one) => one.show()));
    return detailsJson({ faults, ...(processes && { processes }), vifs: shown });
  }
  const found = vifs.get(vif as VifId);
  if (found === undefined) {
    const message = `${vif} is not served by this vifd: \`vifd list\` shows which vifs there are.`;
    throw new VifdError('ERR_NO_VIF', message, { vif });
  }
  return detailsJson({ faults, vifs: [await found.show()] });
}
