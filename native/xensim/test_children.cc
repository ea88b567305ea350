// The roles of child processes. Each prints a line when it is ready, and stays until its input ends.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <map>

#include "test.h"

namespace test {

namespace {

using Arguments = std::vector<std::string>;

uint32_t number(const Arguments &arguments, size_t index) { return uint32_t(std::stoul(arguments.at(index))); }

// Waits until the parent wants the end.
void wait_for_end() {
  char c;
  while (read(0, &c, 1) == 1) {
  }
}

// Ends without closing anything, as most processes do.
[[noreturn]] void stay() {
  wait_for_end();
  _exit(0);
}

void *map_page(xengnttab_handle *grants, uint32_t domid, uint32_t ref) {
  return xengnttab_map_grant_ref(grants, domid, ref, PROT_READ | PROT_WRITE);
}

// map <domid> <ref>: maps it, prints the first byte, writes the next value.
int map(const Arguments &arguments) {
  xengnttab_handle *grants = xengnttab_open(nullptr, 0);
  auto *page = static_cast<uint8_t *>(map_page(grants, number(arguments, 1), number(arguments, 2)));
  if (!page) {
    printf("errno %d\n", errno);
    return 1;
  }
  printf("mapped %d\n", page[0]);
  page[0]++;
  stay();
}

// share <domid> <pages>: grants pages full of the byte 7, prints the references.
int share(const Arguments &arguments) {
  xengntshr_handle *shares = xengntshr_open(nullptr, 0);
  std::vector<uint32_t> refs(number(arguments, 2));
  auto *pages = static_cast<uint8_t *>(
      xengntshr_share_pages(shares, number(arguments, 1), int(refs.size()), refs.data(), 1));
  if (!pages) return 1;
  for (size_t i = 0; i < refs.size() * 4096; i++) pages[i] = 7;
  for (uint32_t ref : refs) printf("%u\n", ref);
  stay();
}

// bind <domid> <port>: binds it, prints the local port.
int bind(const Arguments &arguments) {
  xenevtchn_handle *events = xenevtchn_open(nullptr, 0);
  int port = xenevtchn_bind_interdomain(events, number(arguments, 1), number(arguments, 2));
  printf("%d\n", port < 0 ? -errno : port);
  stay();
}

// storm <domid> <port> <ref> <rounds>: adds one to the shared counter and notifies, <rounds> times.
int storm(const Arguments &arguments) {
  uint32_t domid = number(arguments, 1);
  xengnttab_handle *grants = xengnttab_open(nullptr, 0);
  xenevtchn_handle *events = xenevtchn_open(nullptr, 0);
  void *page = map_page(grants, domid, number(arguments, 3));
  int port = xenevtchn_bind_interdomain(events, domid, number(arguments, 2));
  if (!page || port < 0) return 1;
  uint32_t rounds = number(arguments, 4);
  printf("ready\n");
  for (uint32_t i = 0; i < rounds; i++) {
    counter(page).fetch_add(1);
    xenevtchn_notify(events, port);
  }
  stay();
}

// echo <domid> <port>: sends an event for each that comes.
int echo(const Arguments &arguments) {
  xenevtchn_handle *events = xenevtchn_open(nullptr, 0);
  int port = xenevtchn_bind_interdomain(events, number(arguments, 1), number(arguments, 2));
  if (port < 0) return 1;
  printf("ready\n");
  for (;;) {
    int pending = xenevtchn_pending(events);
    if (pending < 0) return 1;
    xenevtchn_unmask(events, pending);
    xenevtchn_notify(events, pending);
  }
}

// churn <domid> <port> <ref>: maps, unmaps, binds, unbinds, shares and unshares for ever.
int churn(const Arguments &arguments) {
  uint32_t domid = number(arguments, 1);
  xengnttab_handle *grants = xengnttab_open(nullptr, 0);
  xengntshr_handle *shares = xengntshr_open(nullptr, 0);
  xenevtchn_handle *events = xenevtchn_open(nullptr, 0);
  printf("ready\n");
  for (;;) {
    void *page = map_page(grants, domid, number(arguments, 3));
    int port = xenevtchn_bind_interdomain(events, domid, number(arguments, 2));
    uint32_t refs[4];
    void *mine = xengntshr_share_pages(shares, domid, 4, refs, 1);
    if (!page || port < 0 || !mine) return 1;
    xenevtchn_notify(events, port);
    xengnttab_unmap(grants, page, 1);
    xengntshr_unshare(shares, mine, 4);
    xenevtchn_unbind(events, port);
  }
}

// reexec <domid> <port>: binds, then executes itself with the descriptor, and continues as `reopened`.
int reexec(const Arguments &arguments) {
  xenevtchn_handle *events = xenevtchn_open(nullptr, xensim::evtchn_no_cloexec);
  int port = xenevtchn_bind_interdomain(events, number(arguments, 1), number(arguments, 2));
  std::string fd = std::to_string(xenevtchn_fd(events)), text = std::to_string(port);
  execl("/proc/self/exe", "xensim_test", "reopened", fd.c_str(), text.c_str(), nullptr);
  return 1;
}

// reopened <fd> <port>
int reopened(const Arguments &arguments) {
  xenevtchn_handle *events = xenevtchn_fdopen(nullptr, int(number(arguments, 1)), 0);
  if (!events) return 1;
  bool good = xenevtchn_pending(events) == int(number(arguments, 2)) &&
              xenevtchn_unmask(events, number(arguments, 2)) == 0 &&
              xenevtchn_notify(events, number(arguments, 2)) == 0;
  printf("%s\n", good ? "reopened" : "lost");
  wait_for_end();
  return xenevtchn_close(events);
}

}  // namespace

int run_child(const Arguments &arguments) {
  static const std::map<std::string, int (*)(const Arguments &)> roles = {
      {"map", map},     {"share", share}, {"bind", bind},         {"storm", storm},
      {"echo", echo},   {"churn", churn}, {"reexec", reexec},     {"reopened", reopened},
  };
  auto role = roles.find(arguments.at(0));
  return role == roles.end() ? 2 : role->second(arguments);
}

}  // namespace test
