import { existsSync } from 'node:fs';
import type { PayloadMode } from '../../lib/netback/settings.js';
import type { Guest } from '../drive/guest.js';
import { must, until } from '../drive/process.js';
import { installUnit, UnitVifd } from '../drive/unit.js';
import { installBuilds } from '../drive/vifd.js';
import { kernelThreads } from './cpu.js';

/** A backend that is measured. The backends take turns at one guest. */
export interface Subject {
  readonly name: string;
  /** The guest's address on the interface that the backend serves. */
  readonly address: string;
  /** Makes this backend serve the guest from now on. */
  begin(): Promise<void>;
  end(): Promise<void>;
  /** Its processes or threads, for the processor time; valid while it serves. */
  pids(): readonly number[];
}

export interface SubjectOptions {
  readonly guest: Guest;
  /** The builds that are measured, by name; the first is the checkout's own, gives no name to its subjects, and is installed. */
  readonly builds: readonly { readonly name: string; readonly folder: string }[];
}

/** Everything that can be measured here: xen-netback, each build of vifd in both payload modes, and QEMU's netback if it is installed. */
export async function subjectsOf({ guest, builds }: SubjectOptions): Promise<Subject[]> {
  const subjects: Subject[] = [kernel(guest)];
  await installUnit();
  for (const { name, folder } of builds) {
    const copy = `/run/vifd-bench-${name}`;
    if (name !== '') await installBuilds(folder, [copy]);
    const daemon = name === '' ? new UnitVifd() : new UnitVifd(`${copy}/dist/vifd.cjs`);
    const suffix = name === '' ? '' : ` ${name}`;
    for (const mode of ['copy', 'map'] as const)
      subjects.push(vifd(`vifd ${mode}${suffix}`, guest, daemon, mode));
  }
  if (existsSync('/usr/local/bin/qemu-netback')) subjects.push(qemu(guest));
  return subjects;
}

function kernel(guest: Guest): Subject {
  return {
    name: 'kernel',
    address: guest.address,
    begin: async () => void (await must('guest', 'bind', guest.name)),
    end: async () => void (await must('guest', 'unbind', guest.name)),
    pids: () => kernelThreads(`${guest.vif}-`),
  };
}

/** The shipped unit; other builds run in its sandbox too. */
function vifd(name: string, guest: Guest, daemon: UnitVifd, mode: PayloadMode): Subject {
  return {
    name,
    address: guest.address,
    begin: async () => {
      const from = daemon.events.length;
      daemon.payload = mode;
      await daemon.start('--bridge', 'xenbr0');
      await until(`${name} serves`, () =>
        daemon.events.slice(from).some(({ event, vif }) => event === 'attached' && vif === guest.vif),
      );
    },
    end: async () => {
      await daemon.stop('SIGTERM');
      // Of the same name as the interface of xen-netback.
      await must('ip', 'link', 'delete', guest.vif);
      const errors = daemon.errors();
      if (errors.length > 0) throw new Error(`${name}: ${errors.join('; ')}`);
    },
    pids: () => (daemon.pid === undefined ? [] : [daemon.pid]),
  };
}

/** It has an interface of its own, which stays: no frame comes to it while others have their turn. */
function qemu(guest: Guest): Subject {
  let pid: number | undefined;
  return {
    name: 'QEMU',
    address: guest.address.replace(/^10\.77\.0\./, '10.77.77.'),
    begin: async () => {
      pid ??= Number(await must('guest', 'peer', guest.name));
    },
    end: async () => {},
    pids: () => (pid === undefined ? [] : [pid]),
  };
}
