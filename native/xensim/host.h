// One open handle's view of the simulated machine: the shared files, its session, the host mutex.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <memory>
#include <string>

#include "layout.h"

namespace xensim {

// A domain's file as this handle has it mapped.
struct Peer {
  int fd;
  Domain *tables;
  uint8_t *memory;
};

class Host {
 public:
  // Joins the machine in $XENSIM as domain $XENSIM_DOMID with a session of its own. Null with errno.
  static std::unique_ptr<Host> open(bool close_on_exec);
  // Takes over the session whose descriptor an earlier program of this process left open. Null with errno.
  static std::unique_ptr<Host> adopt(int fd);
  ~Host();
  Host(const Host &) = delete;
  Host &operator=(const Host &) = delete;

  State &state() { return *state_; }
  Session &session() { return state_->sessions[slot_]; }
  uint32_t slot() const { return slot_; }
  uint32_t domid() const { return domid_; }
  // Keeps the session alive; readable after a wake-up.
  int fd() const { return fd_; }
  Peer &own() { return *own_; }

  // Null when there is no such domain. Lock-free, and free of system calls after the first time.
  Peer *peer(uint32_t domid) {
    if (domid > domid_self) return nullptr;
    Peer *peer = peers_[domid].load(std::memory_order_acquire);
    return peer ? peer : find_peer(domid);
  }

  // Makes the session's descriptor readable. Lock-free; never blocks, never raises SIGPIPE.
  void wake(uint32_t slot);
  // Takes all wake-ups, so that the caller must look at its ports next. Only the session's reader may.
  void drain();

  // Handles do not work in a forked child, which may only close them (tools/include/xengnttab.h).
  bool inherited() const;
  // Frees grants, mappings and ports of dead sessions. The caller has locked the host mutex.
  void reap_dead();
  // Kills this process if $XENSIM_CRASH names this place, for tests.
  void crash_point(const char *name) const;

 private:
  friend class Lock;
  Host() = default;
  bool enter(const char *directory);
  bool claim_session(uint32_t domid, bool close_on_exec);
  bool try_slot(uint32_t slot, uint32_t domid, int flags);
  int find_session(int fd);
  bool alive(uint32_t slot);
  void reap(uint32_t slot);
  int open_session(uint32_t slot) const;
  int pipe_of(uint32_t slot);
  std::string path(const char *name, uint32_t number) const;
  Peer *find_peer(uint32_t domid);
  Peer *map_peer(uint32_t domid);
  bool create_domain(uint32_t domid);
  void lock();
  void unlock();

  std::string directory_;
  std::string crash_;
  pid_t pid_ = 0;
  State *state_ = nullptr;
  int fd_ = -1;
  uint32_t slot_ = 0;
  uint32_t domid_ = 0;
  bool joined_ = false;
  Peer *own_ = nullptr;
  // By domain id, one more for domid_self; by slot, descriptor + 1. Lazily zeroed memory.
  std::atomic<Peer *> *peers_ = nullptr;
  std::atomic<int> *pipes_ = nullptr;
};

// Locks the host mutex, and repairs the tables if a process died while it had the mutex.
class Lock {
 public:
  explicit Lock(Host &host) : host_(host) { host_.lock(); }
  ~Lock() { host_.unlock(); }
  Lock(const Lock &) = delete;
  Lock &operator=(const Lock &) = delete;

 private:
  Host &host_;
};

}  // namespace xensim
