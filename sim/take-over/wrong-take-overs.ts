import type { EventChannel, LastingEvents, StoredEvents, Xen } from '../../lib/xen/seam.js';
import type { WrongTakeOver } from './plan.js';

/** The hypervisor for a worker that takes channels over in a wrong way. The other wrong orders are the supervisor's. */
export function mistaken(xen: Xen, wrong: WrongTakeOver | undefined): Xen {
  const { openLastingEvents } = xen;
  const ignores = wrong === 'ignores the event of the take-over';
  if (openLastingEvents === undefined || !(ignores || wrong === 'does not unmask the event channels'))
    return xen;
  const open = (stored?: StoredEvents): LastingEvents => {
    const lasting = openLastingEvents(stored);
    if (stored === undefined) return lasting;
    return {
      bind: (...args) =>
        ignores ? withoutFirstEvent(lasting, args) : withoutFirstUnmask(lasting.bind(...args)),
      bindUnbound: (...args) => lasting.bindUnbound(...args),
      get stored() {
        return lasting.stored;
      },
      [Symbol.dispose]: () => lasting[Symbol.dispose](),
    };
  };
  return { ...xen, openLastingEvents: open };
}

function withoutFirstEvent(
  lasting: LastingEvents,
  [domid, remotePort, onEvent, onFault]: Parameters<LastingEvents['bind']>,
): EventChannel {
  let first = true;
  const channel = lasting.bind(
    domid,
    remotePort,
    () => {
      if (first) channel.unmask();
      else onEvent();
      first = false;
    },
    onFault,
  );
  return channel;
}

function withoutFirstUnmask(channel: EventChannel): EventChannel {
  let first = true;
  return {
    port: channel.port,
    notify: () => channel.notify(),
    unmask: () => {
      if (!first) channel.unmask();
      first = false;
    },
    close: () => channel.close(),
    [Symbol.dispose]: () => channel[Symbol.dispose](),
  };
}
