// libxenevtchn, which behaves as drivers/xen/evtchn.c, the driver behind the real library.

#include <fcntl.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <mutex>
#include <vector>

#include "abi.h"
#include "host.h"
#include "ports.h"

#define XENSIM_EXPORT __attribute__((visibility("default")))

struct xenevtchn_handle {
  std::unique_ptr<xensim::Host> host;
  // Guards the members below.
  std::mutex mutex;
  std::vector<uint32_t> ports;
  // Where the search for a pending port begins, so that a busy one does not starve the others.
  size_t turn = 0;
};

namespace xensim {

namespace {

int fail(int error) {
  errno = error;
  return -1;
}

std::atomic<uint32_t> &events_of(Host &host, uint32_t port) { return host.own().tables->ports[port].events; }

bool is_ready(Host &host, uint32_t port) {
  return (events_of(host, port).load() & (event_pending | event_masked)) == event_pending;
}

// Takes one event: the port is not pending any more, and masked from now on.
bool take(Host &host, uint32_t port) {
  std::atomic<uint32_t> &events = events_of(host, port);
  uint32_t seen = events.load();
  while ((seen & (event_pending | event_masked)) == event_pending)
    if (events.compare_exchange_weak(seen, (seen & ~event_pending) | event_masked)) return true;
  return false;
}

// Returns a port with an event, or 0. It takes the wake-ups first and restores them if events remain, so that the descriptor is readable
// whenever there is an event. The descriptor may also be readable once too often, after a notifier that wrote its byte late: the next call
// finds nothing.
uint32_t take_next(xenevtchn_handle *handle) {
  std::lock_guard<std::mutex> guard(handle->mutex);
  Host &host = *handle->host;
  host.drain();
  uint32_t taken = 0;
  size_t count = handle->ports.size();
  size_t begin = handle->turn;
  for (size_t i = 0; i < count; i++) {
    size_t index = (begin + i) % count;
    uint32_t port = handle->ports[index];
    if (!taken && take(host, port)) {
      taken = port;
      handle->turn = index + 1;
    } else if (taken && is_ready(host, port)) {
      host.wake(host.slot());
      break;
    }
  }
  return taken;
}

int add_port(xenevtchn_handle *handle, int port) {
  if (port < 0) return fail(-port);
  std::lock_guard<std::mutex> guard(handle->mutex);
  handle->ports.push_back(uint32_t(port));
  return port;
}

xenevtchn_handle *make_handle(std::unique_ptr<Host> host) {
  if (!host) return nullptr;
  auto *handle = new xenevtchn_handle();
  handle->host = std::move(host);
  return handle;
}

}  // namespace

}  // namespace xensim

using namespace xensim;

extern "C" {

XENSIM_EXPORT xenevtchn_handle *xenevtchn_open(xentoollog_logger *, unsigned flags) {
  if (flags & ~evtchn_no_cloexec) {
    errno = EINVAL;
    return nullptr;
  }
  return make_handle(Host::open(!(flags & evtchn_no_cloexec)));
}

// The descriptor carries its session, with the bound ports, over an exec or to another process.
XENSIM_EXPORT xenevtchn_handle *xenevtchn_fdopen(xentoollog_logger *, int fd, unsigned flags) {
  if (flags) {
    errno = EINVAL;
    return nullptr;
  }
  xenevtchn_handle *handle = make_handle(Host::adopt(fd));
  if (!handle) return nullptr;
  for (uint32_t port = 1; port < max_ports; port++)
    if (owns_port(*handle->host, port)) handle->ports.push_back(port);
  // The last owner may have read events and died before it handled them: report every port once.
  handle->host->wake(handle->host->slot());
  return handle;
}

XENSIM_EXPORT int xenevtchn_close(xenevtchn_handle *handle) {
  delete handle;
  return 0;
}

XENSIM_EXPORT int xenevtchn_fd(xenevtchn_handle *handle) { return handle->host->fd(); }

XENSIM_EXPORT int xenevtchn_notify(xenevtchn_handle *handle, evtchn_port_t port) {
  if (!owns_port(*handle->host, port)) return fail(ENOTCONN);
  int error = errno;
  notify_port(*handle->host, port);
  errno = error;
  return 0;
}

XENSIM_EXPORT xenevtchn_port_or_error_t xenevtchn_bind_unbound_port(xenevtchn_handle *handle, uint32_t domid) {
  Host &host = *handle->host;
  if (host.session().restricted_to.load()) return fail(EACCES);
  Lock lock(host);
  return add_port(handle, bind_unbound(host, domid));
}

XENSIM_EXPORT xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle *handle, uint32_t domid,
                                                                   evtchn_port_t remote_port) {
  Host &host = *handle->host;
  uint32_t only = host.session().restricted_to.load();
  if (only && only != domid) return fail(EACCES);
  Lock lock(host);
  return add_port(handle, bind_interdomain(host, domid, remote_port));
}

// There are no virtual interrupts here, as for a domain that may not have this one.
XENSIM_EXPORT xenevtchn_port_or_error_t xenevtchn_bind_virq(xenevtchn_handle *handle, unsigned) {
  return fail(handle->host->session().restricted_to.load() ? EACCES : EPERM);
}

XENSIM_EXPORT int xenevtchn_unbind(xenevtchn_handle *handle, evtchn_port_t port) {
  // Locks the host's mutex before the handle's, as binding does.
  Lock lock(*handle->host);
  std::lock_guard<std::mutex> guard(handle->mutex);
  auto found = std::find(handle->ports.begin(), handle->ports.end(), port);
  if (found == handle->ports.end()) return fail(ENOTCONN);
  handle->ports.erase(found);
  close_port(*handle->host, handle->host->domid(), port);
  return 0;
}

XENSIM_EXPORT xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle *handle) {
  int fd = handle->host->fd();
  for (;;) {
    if (uint32_t port = take_next(handle)) return int(port);
    if (fcntl(fd, F_GETFL) & O_NONBLOCK) return fail(EAGAIN);
    struct pollfd wait = {fd, POLLIN, 0};
    if (poll(&wait, 1, -1) < 0) return -1;
  }
}

// The driver ignores ports that are not ours.
XENSIM_EXPORT int xenevtchn_unmask(xenevtchn_handle *handle, evtchn_port_t port) {
  Host &host = *handle->host;
  if (!owns_port(host, port)) return 0;
  if (events_of(host, port).fetch_and(~event_masked) & event_pending) {
    int error = errno;
    host.wake(host.slot());
    errno = error;
  }
  return 0;
}

XENSIM_EXPORT int xenevtchn_restrict(xenevtchn_handle *handle, domid_t domid) {
  if (handle->host->session().restricted_to.load()) return fail(EACCES);
  if (domid == 0 || domid >= domid_self) return fail(EINVAL);
  handle->host->session().restricted_to.store(domid);
  return 0;
}

}  // extern "C"
