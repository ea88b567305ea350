// libxenevtchn.so.1 in front of xensim's: the same functions, which fail when a test asks for it (fault.h).
#include "../abi.h"
#include "fault.h"

#include <map>
#include <mutex>

using xensim::faults::Fails;

namespace {

template <typename Function>
Function* Real(const char* name) {
  return reinterpret_cast<Function*>(xensim::faults::Find("libxenevtchn.so.1", name));
}

// Returns the domain at the other end of a port.
std::mutex mutex;
std::map<evtchn_port_t, uint32_t> domids;

xenevtchn_port_or_error_t Remember(xenevtchn_port_or_error_t port, uint32_t domid) {
  if (port < 0) return port;
  const std::lock_guard<std::mutex> guard(mutex);
  domids[evtchn_port_t(port)] = domid;
  return port;
}

bool FailsAt(const char* call, evtchn_port_t port) {
  uint32_t domid = 0;
  {
    const std::lock_guard<std::mutex> guard(mutex);
    domid = domids[port];
  }
  return Fails(call, domid);
}

}  // namespace

#define REAL(name)                                      \
  static const auto real = Real<decltype(name)>(#name)

extern "C" {

XENSIM_EXPORT xenevtchn_handle* xenevtchn_open(xentoollog_logger* logger, unsigned flags) {
  REAL(xenevtchn_open);
  return Fails("evtchn_open") ? nullptr : real(logger, flags);
}

XENSIM_EXPORT xenevtchn_handle* xenevtchn_fdopen(xentoollog_logger* logger, int fd, unsigned flags) {
  REAL(xenevtchn_fdopen);
  return Fails("evtchn_fdopen") ? nullptr : real(logger, fd, flags);
}

XENSIM_EXPORT int xenevtchn_close(xenevtchn_handle* handle) {
  REAL(xenevtchn_close);
  return real(handle);
}

XENSIM_EXPORT int xenevtchn_fd(xenevtchn_handle* handle) {
  REAL(xenevtchn_fd);
  return real(handle);
}

XENSIM_EXPORT int xenevtchn_notify(xenevtchn_handle* handle, evtchn_port_t port) {
  REAL(xenevtchn_notify);
  return FailsAt("evtchn_notify", port) ? -1 : real(handle, port);
}

XENSIM_EXPORT xenevtchn_port_or_error_t xenevtchn_bind_unbound_port(xenevtchn_handle* handle, uint32_t domid) {
  REAL(xenevtchn_bind_unbound_port);
  return Fails("evtchn_bind_unbound", domid) ? -1 : Remember(real(handle, domid), domid);
}

XENSIM_EXPORT xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle* handle, uint32_t domid,
                                                                   evtchn_port_t remote_port) {
  REAL(xenevtchn_bind_interdomain);
  return Fails("evtchn_bind", domid) ? -1 : Remember(real(handle, domid, remote_port), domid);
}

// A port that could not be unbound stays bound.
XENSIM_EXPORT int xenevtchn_unbind(xenevtchn_handle* handle, evtchn_port_t port) {
  REAL(xenevtchn_unbind);
  return FailsAt("evtchn_unbind", port) ? -1 : real(handle, port);
}

XENSIM_EXPORT xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle* handle) {
  REAL(xenevtchn_pending);
  return Fails("evtchn_pending") ? -1 : real(handle);
}

XENSIM_EXPORT int xenevtchn_unmask(xenevtchn_handle* handle, evtchn_port_t port) {
  REAL(xenevtchn_unmask);
  return FailsAt("evtchn_unmask", port) ? -1 : real(handle, port);
}

XENSIM_EXPORT int xenevtchn_restrict(xenevtchn_handle* handle, domid_t domid) {
  REAL(xenevtchn_restrict);
  return real(handle, domid);
}

}  // extern "C"
