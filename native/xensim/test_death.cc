// Processes that are killed: their grants, mappings and ports are free at once, and no peer hangs.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "layout.h"
#include "test.h"

using namespace test;

namespace {

struct Recoveries {
  xensim::State *state;
  Recoveries() {
    int fd = open((std::string(getenv("XENSIM")) + "/state").c_str(), O_RDONLY);
    void *start = mmap(nullptr, sizeof(xensim::State), PROT_READ, MAP_SHARED, fd, 0);
    state = static_cast<xensim::State *>(start);
    close(fd);
  }
  ~Recoveries() { munmap(state, sizeof(xensim::State)); }
  int count() const { return int(state->recoveries.load()); }
};

// A guest with a writable page and a port, both for domain 0.
struct Guest {
  Shares shares;
  Events events;
  uint32_t ref = 0;
  void *page;
  int port;
  Guest() : shares(1), events(1) {
    page = xengntshr_share_pages(shares, 0, 1, &ref, 1);
    port = xenevtchn_bind_unbound_port(events, 0);
    int fd = xenevtchn_fd(events);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    CHECK(page && port > 0);
  }
  std::vector<std::string> arguments(const char *role) const {
    return {role, "1", std::to_string(port), std::to_string(ref)};
  }
  void drain() {
    int pending;
    while ((pending = xenevtchn_pending(events)) > 0) xenevtchn_unmask(events, evtchn_port_t(pending));
  }
};

// A backend that is killed at `crash_point`; the next process undoes its half-done work.
void check_recovery(const char *crash_point) {
  Guest guest;
  Recoveries recoveries;
  int before = recoveries.count();
  Child child(0, guest.arguments("churn"), crash_point);
  child.line();
  CHECK_EQUAL(child.finish(), -SIGKILL);
  CHECK_EQUAL(xensim_end(guest.shares, guest.ref), 0);
  {
    Events backend(0);
    CHECK(xenevtchn_bind_interdomain(backend, 1, evtchn_port_t(guest.port)) > 0);
  }
  CHECK_EQUAL(recoveries.count(), before + 1);
}

}  // namespace

CASE("a killed process's mapping no longer keeps a grant from being ended") {
  Shares shares(1);
  int64_t ref = xensim_grant(shares, xensim_allocate(shares, 1), 0, 1);
  Child child(0, {"map", "1", std::to_string(ref)});
  CHECK(child.line() == "mapped 0");
  CHECK_ERRNO(xensim_end(shares, uint32_t(ref)) == -1, EBUSY);
  child.kill();
  CHECK_EQUAL(xensim_end(shares, uint32_t(ref)), 0);
}

CASE("a killed process's port can be bound again by a new process within 100 ms") {
  Guest guest;
  Child first(0, guest.arguments("bind"));
  CHECK(atoi(first.line().c_str()) > 0);
  Events backend(0);
  CHECK_ERRNO(xenevtchn_bind_interdomain(backend, 1, evtchn_port_t(guest.port)) == -1, EINVAL);
  int64_t start = now_ns();
  first.kill();
  CHECK_EQUAL(xenevtchn_notify(guest.events, evtchn_port_t(guest.port)), 0);
  Child second(0, guest.arguments("bind"));
  CHECK(atoi(second.line().c_str()) > 0);
  CHECK(now_ns() - start < 100000000);
  printf("     SIGKILL to bound again by a new process: %.1f ms\n", double(now_ns() - start) / 1e6);
}

CASE("a killed granter's memory is free, but for what a peer still maps") {
  Grants grants(0);
  Child child(1, {"share", "0", "32000"});
  CHECK(atoi(child.line().c_str()) >= 8);
  child.kill();
  Child sharer(1, {"share", "0", "32000"});
  uint32_t ref = uint32_t(atoi(sharer.line().c_str()));
  auto *map = static_cast<volatile uint8_t *>(xengnttab_map_grant_ref(grants, 1, ref, PROT_READ | PROT_WRITE));
  CHECK(map && map[0] == 7);
  sharer.kill();
  Shares shares(1);
  CHECK_EQUAL(map[0], 7);
  map[1] = 8;
  CHECK_ERRNO(!xensim_allocate(shares, 32768), ENOMEM);
  CHECK_EQUAL(xengnttab_unmap(grants, const_cast<uint8_t *>(map), 1), 0);
  CHECK(xensim_allocate(shares, 32768));
}

CASE("a process killed with the host's lock is cleaned up after, wherever it was") {
  for (const char *point : {"pinning", "pinned", "unpinning", "binding", "unbinding"}) check_recovery(point);
}

CASE("a process killed while it cleans up after another is cleaned up after") {
  Guest guest;
  Recoveries recoveries;
  Child victim(0, guest.arguments("bind"));
  Child mapper(0, {"map", "1", std::to_string(guest.ref)});
  CHECK(atoi(victim.line().c_str()) > 0);
  CHECK(mapper.line() == "mapped 0");
  victim.kill();
  mapper.kill();
  Child reaper(0, guest.arguments("bind"), "reaping");
  reaper.line();
  CHECK_EQUAL(reaper.finish(), -SIGKILL);
  Child next(0, guest.arguments("bind"));
  CHECK(atoi(next.line().c_str()) > 0);
  CHECK_EQUAL(xensim_end(guest.shares, guest.ref), 0);
  CHECK_EQUAL(recoveries.count(), 1);
}

CASE("a notifier is killed at random 200 times, and the next one's events always arrive") {
  Guest guest;
  unsigned seed = 1;
  for (int i = 0; i < 200; i++) {
    std::vector<std::string> arguments = guest.arguments("storm");
    arguments.push_back("1000000000");
    Child child(0, arguments);
    if (child.line() != "ready") CHECK(!"the child could not bind");
    int64_t until = now_ns() + rand_r(&seed) % 2000000;
    while (now_ns() < until) guest.drain();
    child.kill();
    guest.drain();
    Child next(0, guest.arguments("bind"));
    CHECK(atoi(next.line().c_str()) > 0);
    CHECK_EQUAL(next.finish(), 0);
    uint64_t before = counter(guest.page).load();
    Child notifier(0, {"storm", "1", std::to_string(guest.port), std::to_string(guest.ref), "1"});
    CHECK(readable(xenevtchn_fd(guest.events), 5000));
    CHECK_EQUAL(xenevtchn_pending(guest.events), guest.port);
    xenevtchn_unmask(guest.events, evtchn_port_t(guest.port));
    CHECK_EQUAL(counter(guest.page).load(), before + 1);
  }
}

CASE("a process that does everything is killed at random 200 times, and nothing is left of it") {
  Guest guest;
  Recoveries recoveries;
  unsigned seed = 2;
  for (int i = 0; i < 200; i++) {
    Child child(0, guest.arguments("churn"));
    if (child.line() != "ready") CHECK(!"the child could not start");
    usleep(rand_r(&seed) % 2000);
    child.kill();
    guest.drain();
  }
  CHECK_EQUAL(xensim_end(guest.shares, guest.ref), 0);
  Shares backend(0);
  CHECK(xensim_allocate(backend, 32768));
  printf("     %d of 200 died holding the lock\n", recoveries.count());
}

CASE("a forked child that closes an inherited handle takes nothing from its parent") {
  Guest guest;
  Grants grants(0);
  void *map = xengnttab_map_grant_ref(grants, 1, guest.ref, PROT_READ);
  CHECK(map);
  pid_t pid = fork();
  if (pid == 0) {
    xengnttab_close(grants.handle);
    xenevtchn_close(guest.events.handle);
    xengntshr_close(guest.shares.handle);
    _exit(0);
  }
  int status;
  waitpid(pid, &status, 0);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  CHECK_ERRNO(xensim_end(guest.shares, guest.ref) == -1, EBUSY);
  Events backend(0);
  CHECK(xenevtchn_bind_interdomain(backend, 1, evtchn_port_t(guest.port)) > 0);
}
