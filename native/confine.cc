#include "confine.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace vifd {

namespace {

// ---- Capabilities

// What a child of fork(2) keeps; -1: all.
std::atomic<int64_t> child_keeps{-1};

// Runs in the child, between fork and execve, so by system calls alone. Once a process has threads, it is too late: capset(2) is for one thread.
void ConfineChild() {
  const int64_t keeps = child_keeps.load();
  if (keeps < 0) return;
  // Otherwise root would get all capabilities of the bounding set by execve (capabilities(7)).
  syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  // Needs CAP_SETPCAP. The unit has bounded them already; and with no_new_privs the bounding set gives nothing.
  for (unsigned long one = 0; one < 64; one++) {
    if (((keeps >> one) & 1) == 0) syscall(SYS_prctl, PR_CAPBSET_DROP, one, 0, 0, 0);
  }
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {};
  if (syscall(SYS_capget, &header, sets) < 0) return;
  for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
    const auto mask = static_cast<uint32_t>(keeps >> (32 * i));
    sets[i].permitted &= mask;
    // For another user than root: what is inheritable can be ambient, and only that outlives execve. The kernel takes away from the ambient
    // ones what is no longer permitted.
    sets[i].inheritable = sets[i].permitted;
    sets[i].effective = sets[i].permitted;
  }
  syscall(SYS_capset, &header, sets);
}

// ---- System calls

#ifdef __x86_64__
constexpr uint32_t kArch = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArch = AUDIT_ARCH_AARCH64;
#else
constexpr uint32_t kArch = 0;
#endif
// System calls of x32, which are others by the same numbers (arch/x86/include/uapi/asm/unistd.h).
constexpr uint32_t kX32 = 0x40000000;

// Those from 424 on have the same number on all architectures, and old headers lack them.
constexpr uint32_t kRefused[] = {
    // Programs and processes: a worker starts none.
    SYS_execve, SYS_execveat,
#ifdef SYS_fork
    SYS_fork, SYS_vfork,
#endif
    // Other processes' memory, descriptors, signals and shares of processors.
    SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_kcmp, SYS_tkill, SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo,
    424 /* pidfd_send_signal */, 438 /* pidfd_getfd */, 440 /* process_madvise */, 448 /* process_mrelease */, SYS_setpriority,
    SYS_ioprio_set,
    // Namespaces and mounts.
    SYS_unshare, SYS_setns, SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_name_to_handle_at, SYS_open_by_handle_at,
    428 /* open_tree */, 429 /* move_mount */, 430 /* fsopen */, 431 /* fsconfig */, 432 /* fsmount */, 433 /* fspick */,
    442 /* mount_setattr */,
    // The kernel and the host.
    SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load, SYS_reboot, SYS_swapon, SYS_swapoff, SYS_acct, SYS_quotactl,
    SYS_syslog, SYS_perf_event_open, SYS_userfaultfd, SYS_add_key, SYS_request_key, SYS_keyctl, SYS_personality, SYS_settimeofday,
    SYS_clock_settime, SYS_adjtimex, SYS_clock_adjtime, SYS_sethostname, SYS_setdomainname, SYS_vhangup,
#ifdef SYS_kexec_file_load
    SYS_kexec_file_load,
#endif
#ifdef SYS_iopl
    SYS_iopl, SYS_ioperm, SYS_modify_ldt,
#endif
};

// Their first argument is a process: this one alone.
constexpr uint32_t kOfProcess[] = {SYS_kill,         SYS_tgkill,          SYS_prlimit64,           SYS_sched_setaffinity,
                                   SYS_sched_setattr, SYS_sched_setparam, SYS_sched_setscheduler, SYS_migrate_pages,
                                   SYS_move_pages};

constexpr uint32_t kClone3 = 435;
constexpr uint32_t kNewNamespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;

constexpr uint32_t kAllow = SECCOMP_RET_ALLOW;
constexpr uint32_t Fail(int error) { return SECCOMP_RET_ERRNO | static_cast<uint32_t>(error); }

// The low half of an argument: all that the kernel reads of those that are examined here.
constexpr uint32_t Argument(int number) {
  static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
  return offsetof(seccomp_data, args) + sizeof(uint64_t) * static_cast<uint32_t>(number);
}

class Filter {
 public:
  explicit Filter(uint32_t pid) {
    Load(offsetof(seccomp_data, arch));
    Unless(kArch, Fail(EPERM));
    Load(offsetof(seccomp_data, nr));
    Add(BPF_JMP | BPF_JGE | BPF_K, kX32, 0, 1);
    Return(Fail(EPERM));
    for (const uint32_t number : kRefused) If(number, Fail(EPERM));
    // Its flags are in memory, where a filter cannot read them. The C library then calls clone.
    If(kClone3, Fail(ENOSYS));
    // Only threads.
    Of(SYS_clone, 0, {Set(kNewNamespaces, Fail(EPERM)), Clear(CLONE_THREAD, Fail(EPERM))}, kAllow);
    for (const uint32_t number : kOfProcess) Of(number, 0, {Equal(0, kAllow), Equal(pid, kAllow)}, Fail(EPERM));
    // As the unit's RestrictAddressFamilies: xenstored and the link, ioctls of interfaces, netlink.
    Of(SYS_socket, 0, {Equal(1, kAllow), Equal(2, kAllow), Equal(16, kAllow)}, Fail(EPERM));
    // They would have the kernel send a signal to another process.
    Of(SYS_fcntl, 1, {Equal(F_SETOWN, Fail(EPERM)), Equal(F_SETSIG, Fail(EPERM)), Equal(15 /* F_SETOWN_EX */, Fail(EPERM))}, kAllow);
    Of(SYS_ioctl, 1, {Equal(0x8901 /* FIOSETOWN */, Fail(EPERM)), Equal(0x8902 /* SIOCSPGRP */, Fail(EPERM))}, kAllow);
    Return(kAllow);
  }

  // Returns 0 or -errno.
  int Install() {
    const sock_fprog program = {static_cast<unsigned short>(code_.size()), code_.data()};
    // For all threads. Kernels before 5.16 would also slow down a filtered process against Spectre's variant 4 (seccomp(2)).
    const unsigned long flags = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    const long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    // A number above 0 is a thread with another filter.
    return result == 0 ? 0 : result > 0 ? -EBUSY : -errno;
  }

 private:
  using Test = std::vector<sock_filter>;

  static Test Jump(uint16_t kind, uint32_t value, bool when, uint32_t result) {
    const auto skips = static_cast<uint8_t>(1);
    return {BPF_JUMP(static_cast<uint16_t>(BPF_JMP | kind | BPF_K), value, when ? uint8_t{0} : skips, when ? skips : uint8_t{0}),
            BPF_STMT(BPF_RET | BPF_K, result)};
  }
  static Test Equal(uint32_t value, uint32_t result) { return Jump(BPF_JEQ, value, true, result); }
  static Test Set(uint32_t bits, uint32_t result) { return Jump(BPF_JSET, bits, true, result); }
  static Test Clear(uint32_t bits, uint32_t result) { return Jump(BPF_JSET, bits, false, result); }

  void Add(uint16_t code, uint32_t value, uint8_t yes = 0, uint8_t no = 0) { code_.push_back({code, yes, no, value}); }
  void Load(uint32_t offset) { Add(BPF_LD | BPF_W | BPF_ABS, offset); }
  void Return(uint32_t result) { Add(BPF_RET | BPF_K, result); }
  void Append(const Test& test) { code_.insert(code_.end(), test.begin(), test.end()); }
  // Of the loaded word.
  void If(uint32_t value, uint32_t result) { Append(Equal(value, result)); }
  void Unless(uint32_t value, uint32_t result) { Append(Jump(BPF_JEQ, value, false, result)); }

  // Tests an argument of one system call, whose number is loaded, and is loaded for what follows.
  void Of(uint32_t number, int argument, const std::vector<Test>& tests, uint32_t otherwise) {
    size_t length = 2;
    for (const Test& test : tests) length += test.size();
    Add(BPF_JMP | BPF_JEQ | BPF_K, number, 0, static_cast<uint8_t>(length));
    Load(Argument(argument));
    for (const Test& test : tests) Append(test);
    Return(otherwise);
  }

  std::vector<sock_filter> code_;
};

}  // namespace

Napi::Value StartConfined(const Napi::CallbackInfo& info) {
  static const int registered = pthread_atfork(nullptr, nullptr, ConfineChild);
  if (registered != 0) throw Napi::Error::New(info.Env(), "pthread_atfork failed");
  struct Keeping {
    explicit Keeping(int64_t capabilities) { child_keeps = capabilities; }
    ~Keeping() { child_keeps = -1; }
  };
  const Keeping keeping(info[1].As<Napi::Number>().Int64Value());
  return info[0].As<Napi::Function>().Call({});
}

Napi::Value Confine(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (kArch == 0) return Napi::Number::New(env, -ENOSYS);
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return Napi::Number::New(env, -errno);
  return Napi::Number::New(env, Filter(static_cast<uint32_t>(getpid())).Install());
}

}  // namespace vifd
