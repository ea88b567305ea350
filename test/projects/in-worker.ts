// A worker thread opens Xen and has an event. It disposes of Xen; or it does not leave the event's listener, until the main thread ends it.
import { once } from 'node:events';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { openXen } from 'vifd';
import { createModel } from 'vifd/model';

if (isMainThread) {
  for (const end of ['disposal', 'terminate']) {
    const worker = new Worker(new URL(import.meta.url), { workerData: end });
    const exit = once(worker, 'exit');
    const [event] = await once(worker, 'message');
    if (end === 'terminate') await worker.terminate();
    console.log(event, end, ...(await exit));
  }
} else {
  await using model = createModel();
  await using xen = await openXen({ domid: 0, store: model.xen.store });
  const channel = xen.events.bindUnbound(0, () => {});
  await new Promise<void>((resolve) => {
    xen.events.bind(0, channel.port, () => {
      parentPort?.postMessage('event');
      while (workerData === 'terminate');
      resolve();
    });
    channel.notify();
  });
}
