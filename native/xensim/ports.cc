#include "ports.h"

#include <cerrno>

namespace xensim {

namespace {

// Port 0 is reserved (xen/common/event_channel.c: get_free_port). Numbers are reused late, so that a stale port number is likely refused.
uint32_t find_free_port(Domain &domain) {
  for (uint32_t i = 0; i < max_ports; i++) {
    uint32_t port = (domain.next_port + i) % max_ports;
    if (port == 0 || link_state(domain.ports[port].link.load()) != PortState::free) continue;
    domain.next_port = port + 1;
    return port;
  }
  return 0;
}

bool is_bound_to(const Port &port, uint32_t domid, uint32_t remote_port) {
  uint64_t link = port.link.load();
  return link_state(link) == PortState::interdomain && link_remote_domid(link) == domid &&
         link_remote_port(link) == remote_port;
}

// Xen accepts only a port that waits for the calling domain: evtchn_bind_interdomain.
bool waits_for(const Port &port, uint32_t domid) {
  uint64_t link = port.link.load();
  return link_state(link) == PortState::unbound && link_remote_domid(link) == domid;
}

}  // namespace

int bind_unbound(Host &host, uint32_t remote_domid) {
  if (remote_domid == domid_self) remote_domid = host.domid();
  if (remote_domid >= domid_self) return -EINVAL;
  Domain &domain = *host.own().tables;
  uint32_t port = find_free_port(domain);
  if (!port) return -ENOSPC;
  domain.ports[port].events.store(0);
  domain.ports[port].link.store(make_link(PortState::unbound, remote_domid, 0, host.slot()));
  return int(port);
}

int bind_interdomain(Host &host, uint32_t remote_domid, uint32_t remote_port) {
  Peer *peer = host.peer(remote_domid);
  if (!peer) return -ESRCH;
  if (remote_domid == domid_self) remote_domid = host.domid();
  if (remote_port == 0 || remote_port >= max_ports) return -EINVAL;
  Port &remote = peer->tables->ports[remote_port];
  // Its last peer may have been killed just now.
  if (!waits_for(remote, host.domid())) host.reap_dead();
  if (!waits_for(remote, host.domid())) return -EINVAL;
  uint32_t port = find_free_port(*host.own().tables);
  if (!port) return -ENOSPC;
  Port &local = host.own().tables->ports[port];
  // Pending at once, because earlier events of the port are lost (evtchn_bind_interdomain).
  local.events.store(event_pending);
  // Our end first: if this process dies in between, the remote end is unchanged and our end is reaped with the process.
  local.link.store(make_link(PortState::interdomain, remote_domid, remote_port, host.slot()));
  host.crash_point("binding");
  remote.link.store(make_link(PortState::interdomain, host.domid(), port, link_session(remote.link.load())));
  host.wake(host.slot());
  return int(port);
}

void close_port(Host &host, uint32_t domid, uint32_t port) {
  Peer *own = host.peer(domid);
  if (!own) return;
  uint64_t link = own->tables->ports[port].link.load();
  Peer *peer = link_state(link) == PortState::interdomain ? host.peer(link_remote_domid(link)) : nullptr;
  uint32_t remote_port = link_remote_port(link);
  if (peer && remote_port < max_ports) {
    Port &remote = peer->tables->ports[remote_port];
    if (is_bound_to(remote, domid, port))
      remote.link.store(make_link(PortState::unbound, domid, 0, link_session(remote.link.load())));
  }
  host.crash_point("unbinding");
  own->tables->ports[port].link.store(0);
}

void close_ports(Host &host, uint32_t domid, uint32_t session) {
  Peer *own = host.peer(domid);
  if (!own) return;
  for (uint32_t port = 1; port < max_ports; port++) {
    uint64_t link = own->tables->ports[port].link.load();
    if (link_state(link) != PortState::free && link_session(link) == session) close_port(host, domid, port);
  }
}

bool owns_port(Host &host, uint32_t port) {
  if (port == 0 || port >= max_ports) return false;
  uint64_t link = host.own().tables->ports[port].link.load();
  return link_state(link) != PortState::free && link_session(link) == host.slot();
}

// Marks, then always wakes: the next notifier makes up for one that was killed between the two.
void notify_port(Host &host, uint32_t port) {
  uint64_t link = host.own().tables->ports[port].link.load();
  if (link_state(link) != PortState::interdomain) return;
  Peer *peer = host.peer(link_remote_domid(link));
  uint32_t remote_port = link_remote_port(link);
  if (!peer || remote_port >= max_ports) return;
  Port &remote = peer->tables->ports[remote_port];
  if (!is_bound_to(remote, host.domid(), port)) return;
  uint32_t reader = link_session(remote.link.load());
  uint32_t before = remote.events.fetch_or(event_pending);
  // A masked port's reader is woken by its own unmask.
  if (!(before & event_masked) && reader < max_sessions) host.wake(reader);
}

}  // namespace xensim
