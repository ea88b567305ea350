import type { Command } from 'commander';
import { adopt } from './handover.js';
import { handoverCommand } from './handover-command.js';

export function adoptCommand(): Command {
  return handoverCommand({
    name: 'adopt',
    description: "take a live vif over from the kernel's xen-netback: its guest's connections stay up",
    hand: adopt,
    means: async ({ kernel }, vif, mark) => kernel.serves(vif) || (await mark.read()).keep !== undefined,
    done: (vif) => `${vif} was taken over from xen-netback`,
  });
}
