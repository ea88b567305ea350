/**
 * The error codes of vifd, each with what happened and what to do. `npm run errors` writes the table of docs/errors.md from it.
 * errors.ts imports only its type, so no process of vifd loads this file.
 */

export interface ErrorRow {
  /** What happened, to which vif, and why; what vifd does about it by itself. */
  readonly when: string;
  /** What the reader does about it. */
  readonly remedy: string;
}

/** In the order of docs/errors.md: first what stops a start, then the host, the guests, the verbs, and the calling program. */
export const ERROR_ROWS = {
  ERR_ADDON_MISSING: {
    when: 'The native addon is not built, or cannot be loaded. Nothing is served.',
    remedy: 'Install `g++ cmake make`, then run `npm rebuild`. `vifd/model` works without the addon.',
  },
  ERR_XEN_UNAVAILABLE: {
    when: "Xen cannot be used: a library, a device node, xenstore's socket or a permission is missing. Nothing is served.",
    remedy:
      'The message names what is missing, and the package or module that has it. `vifd check` lists everything.',
  },
  ERR_RUNNING: {
    when: 'Another `vifd run`, or a program that embeds vifd, serves from the same runtime directory. This one ends, and serves no guest.',
    remedy:
      'End the process that the message names, or name another directory by `--journal` (a program: `runtimeDirectory`).',
  },
  ERR_STORE: {
    when: 'xenstored refused a request, or its response broke the protocol. `errno` has its error. A running vifd tries again.',
    remedy:
      'By `errno`: EACCES is a permission, ENOSPC and E2BIG are quotas of this domain. The message has the option that raises them.',
  },
  ERR_STORE_GONE: {
    when: 'The connection to xenstored is lost, or xenstored does not respond. Guests stay attached and their frames pass. vifd tries again until it works.',
    remedy: 'Start xenstored, or remove the obstacle that the message names. Nothing else needs a restart.',
  },
  ERR_NODE_GONE: {
    when: "xenstored was away and came back without the vif's node. The guest stays attached.",
    remedy:
      'Write the node again, or destroy the domain. If you can do neither (in a driver domain, for a guest that is gone), run `vifd detach VIF`.',
  },
  ERR_HOST: {
    when: 'A call to the kernel or the hypervisor failed for the vif that the message names. The guest did not cause it (memory, descriptors, space). vifd tries again until it works.',
    remedy: 'By `errno`: ENOMEM is memory, EMFILE the limit of descriptors, ENOSPC a full file system.',
  },
  ERR_JOURNAL: {
    when: "A journal cannot be opened or mapped, or it was deleted, truncated, damaged or another connection's. The vif is served without it or with an empty one, so a kill may cost the guest frames. If it is a vif's counters (`vif7.0.counters`), they end with the process. The runtime directory itself may also be unusable.",
    remedy:
      'By `errno`: free space, raise the limit of descriptors, or name another directory by `--journal`. Without `errno` there is nothing to do: vifd has started an empty journal.',
  },
  ERR_JOURNAL_VERSION: {
    when: "The vif's journal has a version that this vifd does not read, since a newer vifd wrote it. The message has both versions. vifd starts an empty journal: pending frames and what the guest programmed are lost. After a kill the vif itself may be lost until the guest reconnects.",
    remedy:
      'Before you change to an older vifd, start the newer one with `--journal-version` and the version that the older one reads, and stop it ([README](../README.md#updating-and-going-back)).',
  },
  ERR_TAP: {
    when: "The vif's tap cannot be opened, set up, read or written, or was deleted. vifd tries again, and makes a deleted tap anew with the settings that it had.",
    remedy:
      'By `errno`: EBUSY is another process that has the tap open, EINVAL another interface of its name, ENODEV a missing bridge, EMFILE the limit of descriptors. vifd needs root or CAP_NET_ADMIN.',
  },
  ERR_TAP_LIMIT: {
    when: "The kernel refuses the BPF program that limits the memory of frames in taps, or refuses a tap's queue length. Until a retry succeeds (one each second) a vif's queues hold 60 frames, so bursts are lost sooner. vifd reports this once for all vifs.",
    remedy:
      'By `errno`: EPERM is a missing CAP_BPF, or a user namespace; ENOSYS is a filter of system calls, or a kernel without BPF.',
  },
  ERR_LINK: {
    when: "The vif's interface or its bridge does not pass frames: it is down, deleted, without carrier, disabled, or in no bridge; or the hotplug script has not ended after 45 s; or vifd cannot read or change interfaces at all.",
    remedy:
      'The message names the interface, and the command that repairs it. vifd reports when frames can pass.',
  },
  ERR_SERVICE_MANAGER: {
    when: 'vifd cannot write to the socket that `NOTIFY_SOCKET` names. Guests are served, and vifd tries again. Meanwhile the manager may believe that vifd has not started or hangs.',
    remedy: 'By `errno`. Start the service manager again, or unset `NOTIFY_SOCKET` if there is none.',
  },
  ERR_XEN_GRANT: {
    when: 'vifd cannot map a grant: the frontend named a reference that it did not grant to this domain. The vif stops until its guest connects again.',
    remedy: "Look into the guest's driver. Other guests are served.",
  },
  ERR_XEN_EVENT: {
    when: 'vifd cannot bind an event channel: the frontend named a port that does not exist, is for another domain, or that another backend uses. The vif stops until its guest connects again.',
    remedy:
      "Look into the guest's driver, and check that no other backend serves the vif. Other guests are served.",
  },
  ERR_PROTOCOL: {
    when: 'The frontend broke the netif protocol, or its state is none of xenbus. The vif stops until its guest connects again. Other guests are served.',
    remedy: "`Vif.reason` and `vifd show` have the reason. Look into the guest's driver.",
  },
  ERR_PACED: {
    when: 'The guest has used up its connections: 16 and the first one of each vif, and one more every 2 s, for all its vifs together. Its next connection waits. Other guests are served as before.',
    remedy:
      'Look into the guest: it reloads its driver, or reboots, in a loop. The message has the time until it is served.',
  },
  ERR_STALLED: {
    when: 'Frames have waited for the guest for 60 s, and it took none. vifd drops frames for it until it posts buffers. If all queues of the vif are stalled, its tap has no carrier.',
    remedy: 'Look into the guest.',
  },
  ERR_HOOK: {
    when: 'A hook threw, returned something that is no verdict (a promise, a typo, an array that is no frame), or blocked the event loop. vifd drops a frame without a verdict, and `hookErrors` counts it.',
    remedy: 'Correct the hook. The message names it, what it returned and what it may return.',
  },
  ERR_NOT_RUNNING: {
    when: 'The verb needs a running vifd, and none serves from that directory. `vifd adopt` changed nothing, since it would cut the guest off.',
    remedy: 'Start `vifd run` with the same `--journal`.',
  },
  ERR_QUERY: {
    when: 'The socket in the runtime directory cannot be opened or used, or it was deleted while vifd runs. Guests are served, and vifd makes the socket again. For a verb: the running vifd could not be asked.',
    remedy:
      "By `errno`: EACCES is another user's vifd, EMFILE the limit of descriptors. Otherwise run the verb again.",
  },
  ERR_NO_VIF: {
    when: 'The vif that was named does not exist, or was removed meanwhile.',
    remedy: '`vifd list` shows the vifs of this domain.',
  },
  ERR_OWNER: {
    when: 'The vif cannot be adopted or released: it has that owner already, its guest is not connected, or it negotiated something that the new owner does not support. Nothing was changed.',
    remedy: 'The message has the reason. For a guest that is not connected: run the verb again when it is.',
  },
  ERR_KERNEL_DRIVER: {
    when: "The kernel's xen-netback cannot be loaded, refused the vif, or did not serve it in time.",
    remedy: 'By `errno`, and see `dmesg`. The message names the current owner of the vif.',
  },
  ERR_WORKER: {
    when: 'With `--workers`: a worker cannot be started, or does not end although it was killed; or the workers of the vif that the message names died one after the other, so that vifd serves it only later (`parked`); or a process of vifd sent to another one what no vifd of this version sends, or does not read. Other guests are served. vifd ends a worker that misbehaves, gives its vifs to another one, and tries again.',
    remedy:
      'By `errno`: EMFILE is the limit of descriptors, ENOMEM or EAGAIN that of memory or processes. Without one it is a bug of vifd, or a guest has taken control of a worker: report it, with the log.',
  },
  ERR_PROGRAM: {
    when: 'A program of the system failed (`modprobe`, for `vifd release`).',
    remedy: "The message has the program's own.",
  },
  ERR_TIMEOUT: {
    when: 'Another process did not do its part in time.',
    remedy: 'See the log of `vifd run`. The same command again completes what was begun.',
  },
  ERR_STATE: {
    when: "The call does not fit the object's state, e.g. the object was disposed of; `vifd detach` named a vif whose node exists; the vif's hotplug script failed, or its `rate` cannot be parsed; or vifd caught an error of another class, which is the `cause`.",
    remedy:
      'The message has the reason. In a program: correct the call. For `vifd detach`: remove the device by `xl network-detach`, or run `vifd release VIF`.',
  },
  ERR_ARGUMENT: {
    when: 'An argument, an option or a configuration value cannot be used. Nothing was changed.',
    remedy: 'The message has the values that can.',
  },
} as const satisfies Readonly<Record<string, ErrorRow>>;
