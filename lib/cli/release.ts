import type { Command } from 'commander';
import { release } from './handover.js';
import { handoverCommand } from './handover-command.js';

export function releaseCommand(): Command {
  return handoverCommand({
    name: 'release',
    description: "hand a vif back to the kernel's xen-netback: its guest's connections stay up",
    hand: release,
    means: async (_parts, _vif, mark) => {
      const { owner, keep } = await mark.read();
      return owner === 'vifd' || keep !== undefined;
    },
    done: (vif) => `${vif} was handed to xen-netback`,
  });
}
