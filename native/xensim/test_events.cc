// Event channels between living processes.
#include <fcntl.h>
#include <unistd.h>

#include <thread>

#include "test.h"

using namespace test;

namespace {

void set_nonblocking(xenevtchn_handle *events) {
  int fd = xenevtchn_fd(events);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

// Two domains with a channel between them: the guest's port is unbound first, the backend binds to it.
struct Channel {
  Events guest, backend;
  int guest_port, backend_port;
  Channel() : guest(1), backend(0) {
    guest_port = xenevtchn_bind_unbound_port(guest, 0);
    backend_port = xenevtchn_bind_interdomain(backend, 1, evtchn_port_t(guest_port));
    CHECK(guest_port > 0 && backend_port > 0);
    set_nonblocking(guest);
    set_nonblocking(backend);
  }
  // Takes the event that comes with binding.
  void settle() {
    CHECK_EQUAL(xenevtchn_pending(backend), backend_port);
    CHECK_EQUAL(xenevtchn_unmask(backend, evtchn_port_t(backend_port)), 0);
    CHECK(!readable(xenevtchn_fd(backend), 0));
  }
};

}  // namespace

CASE("a newly bound port is pending at once, the other end is not") {
  Channel channel;
  CHECK(readable(xenevtchn_fd(channel.backend), 0));
  CHECK(!readable(xenevtchn_fd(channel.guest), 0));
  CHECK_EQUAL(xenevtchn_pending(channel.backend), channel.backend_port);
  CHECK_ERRNO(xenevtchn_pending(channel.backend) == -1, EAGAIN);
  CHECK_ERRNO(xenevtchn_pending(channel.guest) == -1, EAGAIN);
}

CASE("a notification reaches the other end") {
  Channel channel;
  channel.settle();
  CHECK_EQUAL(xenevtchn_notify(channel.guest, evtchn_port_t(channel.guest_port)), 0);
  CHECK(readable(xenevtchn_fd(channel.backend), 0));
  CHECK_EQUAL(xenevtchn_pending(channel.backend), channel.backend_port);
  CHECK_EQUAL(xenevtchn_notify(channel.backend, evtchn_port_t(channel.backend_port)), 0);
  CHECK_EQUAL(xenevtchn_pending(channel.guest), channel.guest_port);
}

CASE("events merge, and one that comes while masked is delivered on unmask") {
  Channel channel;
  channel.settle();
  for (int i = 0; i < 10; i++) xenevtchn_notify(channel.guest, evtchn_port_t(channel.guest_port));
  CHECK_EQUAL(xenevtchn_pending(channel.backend), channel.backend_port);
  CHECK_ERRNO(xenevtchn_pending(channel.backend) == -1, EAGAIN);
  for (int i = 0; i < 10; i++) xenevtchn_notify(channel.guest, evtchn_port_t(channel.guest_port));
  CHECK(!readable(xenevtchn_fd(channel.backend), 0));
  CHECK_EQUAL(xenevtchn_unmask(channel.backend, evtchn_port_t(channel.backend_port)), 0);
  CHECK(readable(xenevtchn_fd(channel.backend), 0));
  CHECK_EQUAL(xenevtchn_pending(channel.backend), channel.backend_port);
  CHECK_EQUAL(xenevtchn_unmask(channel.backend, evtchn_port_t(channel.backend_port)), 0);
  CHECK_ERRNO(xenevtchn_pending(channel.backend) == -1, EAGAIN);
}

CASE("the descriptor stays readable while any unmasked event is left, and all ports get their turn") {
  Events guest(1), backend(0);
  set_nonblocking(backend);
  std::vector<int> mine;
  for (int i = 0; i < 5; i++) {
    int port = xenevtchn_bind_unbound_port(guest, 0);
    mine.push_back(xenevtchn_bind_interdomain(backend, 1, evtchn_port_t(port)));
  }
  for (int i = 0; i < 5; i++) {
    CHECK(readable(xenevtchn_fd(backend), 0));
    CHECK_EQUAL(xenevtchn_pending(backend), mine[size_t(i)]);
  }
  CHECK(!readable(xenevtchn_fd(backend), 0));
  xenevtchn_unmask(backend, evtchn_port_t(mine[0]));
  CHECK(!readable(xenevtchn_fd(backend), 0));
}

CASE("pending blocks until an event comes when the descriptor is blocking") {
  Events guest(1), backend(0);
  int port = xenevtchn_bind_unbound_port(guest, 0);
  int local = xenevtchn_bind_interdomain(backend, 1, evtchn_port_t(port));
  CHECK_EQUAL(xenevtchn_pending(backend), local);
  xenevtchn_unmask(backend, evtchn_port_t(local));
  std::thread later([&] {
    usleep(50000);
    xenevtchn_notify(guest, evtchn_port_t(port));
  });
  int64_t start = now_ns();
  CHECK_EQUAL(xenevtchn_pending(backend), local);
  CHECK(now_ns() - start > 40000000);
  later.join();
}

CASE("only a port that waits for this very domain can be bound, and only once") {
  Events guest(1), backend(0), third(2);
  int port = xenevtchn_bind_unbound_port(guest, 0);
  CHECK_ERRNO(xenevtchn_bind_interdomain(third, 1, evtchn_port_t(port)) == -1, EINVAL);
  CHECK_ERRNO(xenevtchn_bind_interdomain(backend, 1, evtchn_port_t(port + 1)) == -1, EINVAL);
  CHECK_ERRNO(xenevtchn_bind_interdomain(backend, 1, 0) == -1, EINVAL);
  CHECK_ERRNO(xenevtchn_bind_interdomain(backend, 1, 4096) == -1, EINVAL);
  CHECK_ERRNO(xenevtchn_bind_interdomain(backend, 9, evtchn_port_t(port)) == -1, ESRCH);
  CHECK(xenevtchn_bind_interdomain(backend, 1, evtchn_port_t(port)) > 0);
  CHECK_ERRNO(xenevtchn_bind_interdomain(backend, 1, evtchn_port_t(port)) == -1, EINVAL);
  CHECK_ERRNO(xenevtchn_bind_virq(backend, 0) == -1, EPERM);
}

CASE("notifying an unbound port does nothing, another domain's port is refused") {
  Events guest(1), other(1);
  int port = xenevtchn_bind_unbound_port(guest, 0);
  CHECK_EQUAL(xenevtchn_notify(guest, evtchn_port_t(port)), 0);
  CHECK_ERRNO(xenevtchn_notify(other, evtchn_port_t(port)) == -1, ENOTCONN);
  CHECK_ERRNO(xenevtchn_unbind(other, evtchn_port_t(port)) == -1, ENOTCONN);
  CHECK_ERRNO(xenevtchn_notify(guest, 4000) == -1, ENOTCONN);
  CHECK_EQUAL(xenevtchn_unmask(other, evtchn_port_t(port)), 0);
}

CASE("unbinding leaves the peer's port unbound, to be bound again") {
  Channel channel;
  CHECK_EQUAL(xenevtchn_unbind(channel.backend, evtchn_port_t(channel.backend_port)), 0);
  CHECK_ERRNO(xenevtchn_notify(channel.backend, evtchn_port_t(channel.backend_port)) == -1, ENOTCONN);
  CHECK_EQUAL(xenevtchn_notify(channel.guest, evtchn_port_t(channel.guest_port)), 0);
  int again = xenevtchn_bind_interdomain(channel.backend, 1, evtchn_port_t(channel.guest_port));
  CHECK(again > 0 && again != channel.backend_port);
  CHECK_EQUAL(xenevtchn_pending(channel.backend), again);
  CHECK_EQUAL(xenevtchn_notify(channel.backend, evtchn_port_t(again)), 0);
  CHECK_EQUAL(xenevtchn_pending(channel.guest), channel.guest_port);
}

CASE("a restricted handle binds to its one domain only, and stays restricted") {
  Events guest(1), other(2), backend(0);
  int port = xenevtchn_bind_unbound_port(guest, 0);
  int foreign = xenevtchn_bind_unbound_port(other, 0);
  CHECK_ERRNO(xenevtchn_restrict(backend, 0) == -1, EINVAL);
  CHECK_EQUAL(xenevtchn_restrict(backend, 1), 0);
  CHECK_ERRNO(xenevtchn_restrict(backend, 1) == -1, EACCES);
  CHECK_ERRNO(xenevtchn_bind_interdomain(backend, 2, evtchn_port_t(foreign)) == -1, EACCES);
  CHECK_ERRNO(xenevtchn_bind_unbound_port(backend, 1) == -1, EACCES);
  CHECK_ERRNO(xenevtchn_bind_virq(backend, 0) == -1, EACCES);
  int local = xenevtchn_bind_interdomain(backend, 1, evtchn_port_t(port));
  CHECK(local > 0);
  CHECK_EQUAL(xenevtchn_notify(backend, evtchn_port_t(local)), 0);
}

CASE("a descriptor kept over exec keeps its ports bound") {
  Events guest(1);
  set_nonblocking(guest);
  int port = xenevtchn_bind_unbound_port(guest, 0);
  Child child(0, {"reexec", "1", std::to_string(port)});
  CHECK(child.line() == "reopened");
  CHECK(readable(xenevtchn_fd(guest), 1000));
  CHECK_EQUAL(xenevtchn_pending(guest), port);
  CHECK_EQUAL(child.finish(), 0);
  Events backend(0);
  CHECK(xenevtchn_bind_interdomain(backend, 1, evtchn_port_t(port)) > 0);
  CHECK_ERRNO(!xenevtchn_fdopen(nullptr, 0, 0), EINVAL);
}

CASE("no wake-up is lost in a storm of a million notifications from another process") {
  constexpr uint64_t rounds = 1000000;
  Shares shares(1);
  Events guest(1);
  uint32_t ref;
  void *page = xengntshr_share_pages(shares, 0, 1, &ref, 1);
  int port = xenevtchn_bind_unbound_port(guest, 0);
  set_nonblocking(guest);
  Child child(0, {"storm", "1", std::to_string(port), std::to_string(ref), std::to_string(rounds)});
  uint64_t seen = 0, events = 0;
  while (seen < rounds && readable(xenevtchn_fd(guest), 5000)) {
    int pending = xenevtchn_pending(guest);
    if (pending < 0) continue;
    CHECK_EQUAL(pending, port);
    events++;
    xenevtchn_unmask(guest, evtchn_port_t(port));
    seen = counter(page).load();
  }
  CHECK_EQUAL(seen, rounds);
  printf("     %llu notifications made %llu events\n", (unsigned long long)rounds, (unsigned long long)events);
}

CASE("a hundred thousand events go to and fro, each waiting for the one before") {
  Events guest(1);
  int port = xenevtchn_bind_unbound_port(guest, 0);
  set_nonblocking(guest);
  Child child(0, {"echo", "1", std::to_string(port)});
  CHECK(child.line() == "ready");
  int rounds = 0;
  // First comes the peer's event for the one that binding causes.
  for (; rounds < 100000 && readable(xenevtchn_fd(guest), 5000); rounds++) {
    while (xenevtchn_pending(guest) != port)
      if (!readable(xenevtchn_fd(guest), 5000)) break;
    xenevtchn_unmask(guest, evtchn_port_t(port));
    xenevtchn_notify(guest, evtchn_port_t(port));
  }
  CHECK_EQUAL(rounds, 100000);
}
