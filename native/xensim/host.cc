#include "host.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>

#include "files.h"
#include "memory.h"
#include "ports.h"

namespace xensim {

namespace {

void initialise_state(void *start) {
  auto *state = static_cast<State *>(start);
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&state->mutex, &attributes);
  pthread_mutexattr_destroy(&attributes);
}

void initialise_domain(void *start) {
  auto *domain = static_cast<Domain *>(start);
  domain->next_ref.store(first_ref);
  domain->next_port = 1;
}

constexpr FileSpec state_file = {sizeof(State), sizeof(State), initialise_state};
constexpr FileSpec domain_file = {domain_file_size, memory_offset, initialise_domain};

struct flock whole_file() {
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

bool parse_domid(const char *text, uint32_t *domid) {
  if (!text || !*text) {
    *domid = 0;
    return true;
  }
  char *end;
  unsigned long value = strtoul(text, &end, 10);
  *domid = uint32_t(value);
  return *end == '\0' && value < domid_self;
}

// Returns zeroed memory that is allocated only when it is touched.
template <typename T>
T *lazy_table(size_t entries) {
  void *start =
      mmap(nullptr, entries * sizeof(T), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return start == MAP_FAILED ? nullptr : static_cast<T *>(start);
}

void close_peer(Peer *peer) {
  munmap(peer->tables, domain_file_size);
  close(peer->fd);
  delete peer;
}

}  // namespace

// ---- opening and closing --------------------------------------------------------------------------

std::unique_ptr<Host> Host::open(bool close_on_exec) {
  const char *directory = getenv("XENSIM");
  uint32_t domid;
  if (!parse_domid(getenv("XENSIM_DOMID"), &domid)) {
    errno = EINVAL;
    return nullptr;
  }
  std::unique_ptr<Host> host(new Host());
  if (!host->enter(directory)) return nullptr;
  if (!host->create_domain(domid) || !host->claim_session(domid, close_on_exec)) return nullptr;
  return host;
}

std::unique_ptr<Host> Host::adopt(int fd) {
  std::unique_ptr<Host> host(new Host());
  if (!host->enter(getenv("XENSIM"))) return nullptr;
  int slot = host->find_session(fd);
  if (slot < 0) {
    errno = EINVAL;
    return nullptr;
  }
  host->slot_ = uint32_t(slot);
  host->domid_ = host->session().domid;
  host->own_ = host->peer(host->domid_);
  if (!host->own_) return nullptr;
  host->peers_[domid_self].store(host->own_);
  host->fd_ = fd;
  host->joined_ = true;
  return host;
}

// A machine without Xen has no /dev/xen: ENOENT is what a caller expects when there is nothing to open.
bool Host::enter(const char *directory) {
  struct stat info;
  if (!directory || !*directory || stat(directory, &info) != 0 || !S_ISDIR(info.st_mode)) {
    errno = ENOENT;
    return false;
  }
  directory_ = directory;
  if (const char *crash = getenv("XENSIM_CRASH")) crash_ = crash;
  pid_ = getpid();
  peers_ = lazy_table<std::atomic<Peer *>>(domid_self + 1);
  pipes_ = lazy_table<std::atomic<int>>(max_sessions);
  int fd;
  void *start = open_shared(directory_ + "/state", state_file, true, &fd);
  if (fd >= 0) close(fd);
  state_ = static_cast<State *>(start);
  return state_ && peers_ && pipes_;
}

Host::~Host() {
  int error = errno;
  if (joined_ && !inherited()) {
    Lock lock(*this);
    close(fd_);
    fd_ = -1;
    // Another process may have the same open file; as with the kernel, the last one to close it ends the session.
    if (!alive(slot_)) reap(slot_);
  }
  if (fd_ >= 0) close(fd_);
  for (uint32_t slot = 0; pipes_ && slot < max_sessions; slot++)
    if (int entry = pipes_[slot].load()) close(entry - 1);
  // A child has none of the mappings, and may have others at their addresses.
  if (state_ && !inherited()) {
    for (uint32_t domid = 0; domid < domid_self; domid++)
      if (Peer *peer = peers_[domid].load()) close_peer(peer);
    munmap(state_, sizeof(State));
  }
  if (peers_) munmap(peers_, (domid_self + 1) * sizeof(*peers_));
  if (pipes_) munmap(pipes_, max_sessions * sizeof(*pipes_));
  errno = error;
}

bool Host::inherited() const { return getpid() != pid_; }

void Host::crash_point(const char *name) const {
  if (!crash_.empty() && crash_ == name) kill(getpid(), SIGKILL);
}

std::string Host::path(const char *name, uint32_t number) const {
  return directory_ + "/" + name + "-" + std::to_string(number);
}

// ---- sessions -------------------------------------------------------------------------------------

bool Host::claim_session(uint32_t domid, bool close_on_exec) {
  int flags = O_RDWR | (close_on_exec ? O_CLOEXEC : 0);
  Lock lock(*this);
  reap_dead();
  for (uint32_t slot = 0; slot < max_sessions; slot++)
    if (!state_->sessions[slot].used.load() && try_slot(slot, domid, flags)) return true;
  errno = ENFILE;
  return false;
}

// The FIFO serves as wake-up and as the sign of an open handle: a descriptor that outlives an exec keeps its session.
bool Host::try_slot(uint32_t slot, uint32_t domid, int flags) {
  std::string name = path("session", slot);
  if (mkfifo(name.c_str(), 0666) == 0) chmod(name.c_str(), 0666);
  // O_RDWR: opening never waits for the other end, and writing never raises SIGPIPE (fifo(7)).
  int fd = ::open(name.c_str(), flags);
  struct stat info;
  struct flock lock = whole_file();
  if (fd < 0 || fstat(fd, &info) != 0 || !S_ISFIFO(info.st_mode) || fcntl(fd, F_OFD_SETLK, &lock) != 0) {
    if (fd >= 0) close(fd);
    return false;
  }
  fd_ = fd;
  slot_ = slot;
  domid_ = domid;
  Session &session = state_->sessions[slot];
  session.domid = domid;
  session.restricted_to.store(0);
  session.inode = info.st_ino;
  session.used.store(1);
  joined_ = true;
  drain();
  return true;
}

int Host::find_session(int fd) {
  struct stat info;
  if (fstat(fd, &info) != 0 || !S_ISFIFO(info.st_mode)) return -1;
  Lock lock(*this);
  for (uint32_t slot = 0; slot < max_sessions; slot++) {
    Session &session = state_->sessions[slot];
    if (session.used.load() && session.inode == info.st_ino) return int(slot);
  }
  return -1;
}

// Asks for the lock through another open file, so that it also sees sessions of this very process.
// Keeps no descriptor of a session that it only looks at: there may be thousands.
bool Host::alive(uint32_t slot) {
  const int cached = pipes_[slot].load(std::memory_order_acquire) - 1;
  const int fd = cached >= 0 ? cached : open_session(slot);
  struct flock lock = whole_file();
  const bool known = fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) == 0;
  if (cached < 0 && fd >= 0) close(fd);
  return !known || lock.l_type != F_UNLCK;
}

void Host::reap_dead() {
  for (uint32_t slot = 0; slot < max_sessions; slot++)
    if (state_->sessions[slot].used.load() && !alive(slot)) reap(slot);
}

// In an order that lets the next process finish if this one dies half-way; the slot is freed last.
void Host::reap(uint32_t slot) {
  uint32_t domid = state_->sessions[slot].domid;
  close_ports(*this, domid, slot);
  unpin_all(*this, slot);
  crash_point("reaping");
  surrender_pages(*this, domid, slot);
  state_->sessions[slot].used.store(0);
}

// ---- wake-ups -------------------------------------------------------------------------------------

// Under O_NONBLOCK of its own, whatever the reader chose.
int Host::open_session(uint32_t slot) const {
  return ::open(path("session", slot).c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
}

// Another process's session file, opened once.
int Host::pipe_of(uint32_t slot) {
  int entry = pipes_[slot].load(std::memory_order_acquire);
  if (entry) return entry - 1;
  int fd = open_session(slot);
  if (fd < 0) return -1;
  int none = 0;
  if (pipes_[slot].compare_exchange_strong(none, fd + 1)) return fd;
  close(fd);
  return none - 1;
}

// The byte may be left out only if `wake` is odd. It becomes odd after a byte was written. It becomes even again after the reader took the
// bytes and before it reads its ports. So an odd value that is seen after an event was marked means that the reader will still read its
// ports. A writer that is killed before it makes the value odd costs one superfluous byte; a late one fails its exchange, because the
// generation has changed.
void Host::wake(uint32_t slot) {
  std::atomic<uint64_t> &word = state_->sessions[slot].wake;
  uint64_t seen = word.load();
  if (seen & 1) return;
  int fd = pipe_of(slot);
  if (fd < 0) return;
  const char byte = 1;
  // A full pipe is a readable one.
  if (write(fd, &byte, 1) == 1 || errno == EAGAIN) word.compare_exchange_strong(seen, seen | 1);
}

void Host::drain() {
  char bytes[4096];
  int fd = pipe_of(slot_);
  // Bounded: a hostile writer costs this process no more than the reading of a pipe's capacity.
  for (int i = 0; i < 16; i++)
    if (read(fd, bytes, sizeof bytes) != ssize_t(sizeof bytes)) break;
  std::atomic<uint64_t> &word = session().wake;
  word.store((word.load() | 1) + 1);
}

// ---- domains --------------------------------------------------------------------------------------

bool Host::create_domain(uint32_t domid) {
  int fd;
  void *start = open_shared(path("domain", domid), domain_file, true, &fd);
  if (!start) return false;
  munmap(start, domain_file_size);
  close(fd);
  state_->domains[domid].store(1);
  own_ = peer(domid);
  if (own_) peers_[domid_self].store(own_);
  return own_ != nullptr;
}

Peer *Host::find_peer(uint32_t domid) {
  if (domid >= domid_self || !state_->domains[domid].load()) return nullptr;
  Peer *mine = map_peer(domid);
  if (!mine) return nullptr;
  Peer *theirs = nullptr;
  if (peers_[domid].compare_exchange_strong(theirs, mine)) return mine;
  close_peer(mine);
  return theirs;
}

Peer *Host::map_peer(uint32_t domid) {
  int fd;
  void *start = open_shared(path("domain", domid), domain_file, false, &fd);
  if (!start) return nullptr;
  return new Peer{fd, static_cast<Domain *>(start), static_cast<uint8_t *>(start) + memory_offset};
}

// ---- the host mutex -------------------------------------------------------------------------------

void Host::lock() {
  if (pthread_mutex_lock(&state_->mutex) != EOWNERDEAD) return;
  // Only counters can be wrong, because every table is right after each single store. It marks the mutex consistent last, so that the next
  // process starts over if this one dies too.
  rebuild_pins(*this);
  state_->recoveries.fetch_add(1);
  pthread_mutex_consistent(&state_->mutex);
}

void Host::unlock() { pthread_mutex_unlock(&state_->mutex); }

}  // namespace xensim
