// The cost of the calls on the data path. Printed, never checked.
#include <fcntl.h>
#include <sys/mman.h>

#include <utility>

#include "test.h"

namespace test {

namespace {

// The best of several runs, in ns for one of `count` operations.
double best(int count, const std::function<void()> &run) {
  double least = 1e18;
  for (int i = 0; i < 5; i++) {
    int64_t start = now_ns();
    run();
    double each = double(now_ns() - start) / count;
    if (each < least) least = each;
  }
  return least;
}

// `pages`: over how many granted pages the 64 segments are spread. With 64 the effects of the caches' associativity and of the TLB show; with
// 1 the time is that of the call alone.
void bench_copy(uint16_t length, uint32_t pages) {
  constexpr uint32_t batch = 64, rounds = 5000;
  Shares shares(1);
  Grants grants(0);
  uint32_t refs[batch];
  xengntshr_share_pages(shares, 0, batch, refs, 1);
  std::vector<uint8_t> arena(batch * 4096);
  xengnttab_grant_copy_segment_t segments[batch] = {};
  for (uint32_t i = 0; i < batch; i++) {
    segments[i].source.foreign.ref = refs[i % pages];
    segments[i].source.foreign.domid = 1;
    segments[i].dest.virt = &arena[i * size_t{length}];
    segments[i].len = length;
    segments[i].flags = xensim::copy_source_gref;
  }
  double each = best(batch * rounds, [&] {
    for (uint32_t i = 0; i < rounds; i++) xengnttab_grant_copy(grants, batch, segments);
  });
  printf("bench grant_copy of %u bytes, batches of 64 over %u page(s): %.1f ns a segment\n", length, pages, each);
}

void bench_grant() {
  constexpr uint32_t rounds = 1000000;
  Shares shares(1);
  void *page = xensim_allocate(shares, 1);
  double each = best(rounds, [&] {
    for (uint32_t i = 0; i < rounds; i++) xensim_end(shares, uint32_t(xensim_grant(shares, page, 0, 1)));
  });
  printf("bench grant and end: %.1f ns\n", each);
}

void bench_map() {
  constexpr uint32_t batch = 64, rounds = 200;
  Shares shares(1);
  Grants grants(0);
  uint32_t refs[batch];
  xengntshr_share_pages(shares, 0, batch, refs, 1);
  // Scattered, so that no two pages go in one mmap.
  for (uint32_t i = 0; i < batch / 2; i += 2) std::swap(refs[i], refs[batch - 1 - i]);
  double each = best(batch * rounds, [&] {
    for (uint32_t i = 0; i < rounds; i++)
      xengnttab_unmap(grants, xengnttab_map_domain_grant_refs(grants, batch, 1, refs, PROT_READ), batch);
  });
  printf("bench map and unmap, batches of 64: %.0f ns a page\n", each);
}

void bench_notify() {
  constexpr uint32_t rounds = 200000;
  Events guest(1), backend(0);
  fcntl(xenevtchn_fd(guest), F_SETFL, O_NONBLOCK);
  int port = xenevtchn_bind_unbound_port(guest, 0);
  int local = xenevtchn_bind_interdomain(backend, 1, evtchn_port_t(port));
  double merged = best(rounds, [&] {
    for (uint32_t i = 0; i < rounds; i++) xenevtchn_notify(backend, evtchn_port_t(local));
  });
  double round = best(rounds, [&] {
    for (uint32_t i = 0; i < rounds; i++) {
      xenevtchn_notify(backend, evtchn_port_t(local));
      xenevtchn_unmask(guest, evtchn_port_t(xenevtchn_pending(guest)));
    }
  });
  printf("bench notify, receiver already woken: %.1f ns\n", merged);
  printf("bench notify, pending and unmask in one thread: %.0f ns\n", round);
}

}  // namespace

void run_benchmarks() {
  bench_copy(60, 1);
  bench_copy(60, 64);
  bench_copy(1500, 64);
  bench_copy(4096, 64);
  bench_grant();
  bench_map();
  bench_notify();
}

}  // namespace test
