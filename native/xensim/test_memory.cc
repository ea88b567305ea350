// Granting, mapping and copying.
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <set>

#include "test.h"

using namespace test;
using namespace xensim;

namespace {

constexpr int read_write = PROT_READ | PROT_WRITE;

xengnttab_grant_copy_segment_t from_guest(uint32_t domid, uint32_t ref, uint16_t offset, uint16_t len, void *to) {
  xengnttab_grant_copy_segment_t segment = {};
  segment.source.foreign.ref = ref;
  segment.source.foreign.offset = offset;
  segment.source.foreign.domid = uint16_t(domid);
  segment.dest.virt = to;
  segment.len = len;
  segment.flags = copy_source_gref;
  segment.status = 99;
  return segment;
}

xengnttab_grant_copy_segment_t to_guest(uint32_t domid, uint32_t ref, uint16_t offset, uint16_t len, void *from) {
  xengnttab_grant_copy_segment_t segment = {};
  segment.source.virt = from;
  segment.dest.foreign.ref = ref;
  segment.dest.foreign.offset = offset;
  segment.dest.foreign.domid = uint16_t(domid);
  segment.len = len;
  segment.flags = copy_dest_gref;
  segment.status = 99;
  return segment;
}

int copy_status(xengnttab_handle *grants, xengnttab_grant_copy_segment_t segment) {
  CHECK_EQUAL(xengnttab_grant_copy(grants, 1, &segment), 0);
  return segment.status;
}

}  // namespace

CASE("open fails as on a machine without Xen when there is no directory") {
  std::string machine = getenv("XENSIM");
  unsetenv("XENSIM");
  CHECK_ERRNO(!xengnttab_open(nullptr, 0), ENOENT);
  setenv("XENSIM", "/nonexistent/machine", 1);
  CHECK_ERRNO(!xengntshr_open(nullptr, 0), ENOENT);
  CHECK_ERRNO(!xenevtchn_open(nullptr, 0), ENOENT);
  setenv("XENSIM", machine.c_str(), 1);
}

CASE("shared pages are zeroed, contiguous, and numbered from the first unreserved reference") {
  Shares shares(1);
  uint32_t refs[3];
  auto *pages = static_cast<uint8_t *>(xengntshr_share_pages(shares, 0, 3, refs, 1));
  CHECK(pages);
  CHECK_EQUAL(refs[0], 8);
  for (int i = 0; i < 3 * 4096; i++) CHECK(pages[i] == 0);
  memset(pages, 0xAA, 3 * 4096);
  CHECK_EQUAL(xengntshr_unshare(shares, pages, 3), 0);
  pages = static_cast<uint8_t *>(xengntshr_share_pages(shares, 0, 3, refs, 1));
  for (int i = 0; i < 3 * 4096; i++) CHECK(pages[i] == 0);
  CHECK(refs[0] > 10);
}

CASE("another process maps a grant, and both see each other's writes") {
  Shares shares(1);
  uint32_t ref;
  auto *page = static_cast<volatile uint8_t *>(xengntshr_share_pages(shares, 0, 1, &ref, 1));
  page[0] = 41;
  Child child(0, {"map", "1", std::to_string(ref)});
  CHECK(child.line() == "mapped 41");
  CHECK_EQUAL(child.finish(), 0);
  CHECK_EQUAL(page[0], 42);
}

CASE("many grants of several domains map to one contiguous range") {
  Shares one(1), two(2);
  Grants grants(0);
  uint32_t refs[4], domids[4] = {2, 1, 1, 2};
  uint32_t first[2], second[2];
  auto *a = static_cast<uint8_t *>(xengntshr_share_pages(one, 0, 2, first, 1));
  auto *b = static_cast<uint8_t *>(xengntshr_share_pages(two, 0, 2, second, 1));
  a[0] = 10, a[4096] = 11, b[0] = 20, b[4096] = 21;
  refs[0] = second[1], refs[1] = first[0], refs[2] = first[1], refs[3] = second[0];
  auto *map = static_cast<uint8_t *>(xengnttab_map_grant_refs(grants, 4, domids, refs, read_write));
  CHECK(map);
  CHECK(map[0] == 21 && map[4096] == 10 && map[2 * 4096] == 11 && map[3 * 4096] == 20);
  map[4096] = 12;
  CHECK_EQUAL(a[0], 12);
  CHECK_ERRNO(xengnttab_unmap(grants, map, 3) == -1, EINVAL);
  CHECK_ERRNO(xengnttab_unmap(grants, map + 4096, 3) == -1, EINVAL);
  CHECK_EQUAL(xengnttab_unmap(grants, map, 4), 0);
  CHECK_ERRNO(xengnttab_unmap(grants, map, 4) == -1, EINVAL);
}

CASE("a map with one bad reference maps nothing") {
  Shares shares(1);
  Grants grants(0);
  uint32_t refs[3];
  CHECK(xengntshr_share_pages(shares, 0, 2, refs, 1));
  for (uint32_t bad : {0u, 7u, refs[1] + 1, 32768u, UINT32_MAX}) {
    refs[2] = bad;
    CHECK_ERRNO(!xengnttab_map_domain_grant_refs(grants, 3, 1, refs, read_write), EINVAL);
  }
  CHECK_ERRNO(!xengnttab_map_domain_grant_refs(grants, 0, 1, refs, read_write), EINVAL);
  CHECK_ERRNO(!xengnttab_map_grant_ref(grants, 9, refs[0], read_write), EINVAL);
  CHECK_EQUAL(xensim_end(shares, refs[0]), 0);
  CHECK_EQUAL(xensim_end(shares, refs[1]), 0);
}

CASE("a read-only grant maps for reading only") {
  Shares shares(1);
  Grants grants(0);
  uint32_t ref;
  auto *page = static_cast<uint8_t *>(xengntshr_share_pages(shares, 0, 1, &ref, 0));
  page[5] = 55;
  CHECK_ERRNO(!xengnttab_map_grant_ref(grants, 1, ref, read_write), EINVAL);
  auto *map = static_cast<uint8_t *>(xengnttab_map_grant_ref(grants, 1, ref, PROT_READ));
  CHECK(map && map[5] == 55);
}

CASE("a grant to another domain is refused") {
  Shares shares(1);
  Grants grants(0);
  uint32_t ref;
  char byte = 0;
  CHECK(xengntshr_share_pages(shares, 2, 1, &ref, 1));
  CHECK_ERRNO(!xengnttab_map_grant_ref(grants, 1, ref, PROT_READ), EINVAL);
  CHECK_EQUAL(copy_status(grants, from_guest(1, ref, 0, 1, &byte)), status_general_error);
}

CASE("copies go both ways and cross local pages") {
  Shares shares(1);
  Grants grants(0);
  uint32_t ref;
  auto *page = static_cast<uint8_t *>(xengntshr_share_pages(shares, 0, 1, &ref, 1));
  std::vector<uint8_t> local(3 * 4096);
  for (int i = 0; i < 4096; i++) page[i] = uint8_t(i * 7);
  CHECK_EQUAL(copy_status(grants, from_guest(1, ref, 0, 4096, &local[1000])), status_okay);
  CHECK(memcmp(&local[1000], page, 4096) == 0);
  CHECK_EQUAL(copy_status(grants, to_guest(1, ref, 4000, 96, &local[1000])), status_okay);
  CHECK(memcmp(&local[1000], page + 4000, 96) == 0);
}

CASE("copies go from one domain's grant to another's") {
  Shares one(1), two(2);
  Grants grants(0);
  uint32_t from, to;
  auto *source = static_cast<uint8_t *>(xengntshr_share_pages(one, 0, 1, &from, 0));
  auto *dest = static_cast<uint8_t *>(xengntshr_share_pages(two, 0, 1, &to, 1));
  memcpy(source + 100, "between", 8);
  xengnttab_grant_copy_segment_t segment = from_guest(1, from, 100, 8, nullptr);
  segment.flags |= copy_dest_gref;
  segment.dest.foreign.ref = to;
  segment.dest.foreign.offset = 200;
  segment.dest.foreign.domid = 2;
  CHECK_EQUAL(copy_status(grants, segment), status_okay);
  CHECK(strcmp(reinterpret_cast<char *>(dest + 200), "between") == 0);
}

CASE("each failed segment of a copy has Xen's status, and the others are done") {
  Shares shares(1);
  Grants grants(0);
  uint32_t ref, readonly;
  auto *page = static_cast<uint8_t *>(xengntshr_share_pages(shares, 0, 1, &ref, 1));
  CHECK(xengntshr_share_pages(shares, 0, 1, &readonly, 0));
  page[9] = 9;
  uint8_t local[4096] = {};
  xengnttab_grant_copy_segment_t segments[] = {
      from_guest(1, 32768, 0, 1, local),        from_guest(1, readonly + 1, 0, 1, local),
      from_guest(77, ref, 0, 1, local),         from_guest(1, ref, 4095, 2, local),
      to_guest(1, readonly, 0, 1, local),       to_guest(1, ref, 65535, 65535, local),
      from_guest(1, ref, 4096, 0, local),       from_guest(1, ref, 9, 1, local),
  };
  const int expected[] = {status_bad_gntref,    status_general_error, status_bad_domain, status_bad_copy_arg,
                          status_general_error, status_bad_copy_arg,  status_okay,       status_okay};
  CHECK_EQUAL(xengnttab_grant_copy(grants, 8, segments), 0);
  for (int i = 0; i < 8; i++) CHECK_EQUAL(segments[i].status, expected[i]);
  CHECK_EQUAL(local[0], 9);
}

CASE("a copy from a domain that is gone has Xen's status for that") {
  Grants grants(0);
  uint8_t local[8] = {};
  uint32_t ref;
  {
    Shares shares(1);
    CHECK(xengntshr_share_pages(shares, 0, 1, &ref, 1));
    auto segment = from_guest(1, ref, 0, 8, local);
    CHECK_EQUAL(copy_status(grants, segment), status_okay);
  }
  auto segment = from_guest(1, ref, 0, 8, local);
  CHECK_EQUAL(copy_status(grants, segment), status_bad_domain);
}

CASE("a copy between local buffers is refused") {
  Grants grants(0);
  xengnttab_grant_copy_segment_t segment = {};
  segment.len = 1;
  CHECK_ERRNO(xengnttab_grant_copy(grants, 1, &segment) == -1, EINVAL);
}

CASE("a mapped grant cannot be ended until it is unmapped") {
  Shares shares(1);
  Grants grants(0);
  auto *page = static_cast<uint8_t *>(xensim_allocate(shares, 1));
  int64_t ref = xensim_grant(shares, page, 0, 1);
  CHECK(ref >= 8);
  void *first = xengnttab_map_grant_ref(grants, 1, uint32_t(ref), PROT_READ);
  void *second = xengnttab_map_grant_ref(grants, 1, uint32_t(ref), read_write);
  CHECK_ERRNO(xensim_end(shares, uint32_t(ref)) == -1, EBUSY);
  CHECK_EQUAL(xengnttab_unmap(grants, second, 1), 0);
  CHECK_ERRNO(xensim_end(shares, uint32_t(ref)) == -1, EBUSY);
  CHECK_EQUAL(xengnttab_unmap(grants, first, 1), 0);
  CHECK_EQUAL(xensim_end(shares, uint32_t(ref)), 0);
  CHECK_ERRNO(xensim_end(shares, uint32_t(ref)) == -1, EINVAL);
  CHECK(!xengnttab_map_grant_ref(grants, 1, uint32_t(ref), PROT_READ));
}

CASE("an ended reference is not used again soon") {
  Shares shares(1);
  void *page = xensim_allocate(shares, 1);
  std::set<int64_t> seen;
  for (int i = 0; i < 30000; i++) {
    int64_t ref = xensim_grant(shares, page, 0, 1);
    CHECK(ref >= 8 && seen.insert(ref).second);
    xensim_end(shares, uint32_t(ref));
  }
}

CASE("a domain runs out of references, and goes on when one is ended") {
  Shares shares(1);
  void *page = xensim_allocate(shares, 1);
  int64_t last = -1;
  for (int i = 0; i < 32768 - 8; i++) last = xensim_grant(shares, page, 0, 1);
  CHECK(last >= 8);
  CHECK_ERRNO(xensim_grant(shares, page, 0, 1) == -1, ENOSPC);
  CHECK_EQUAL(xensim_end(shares, uint32_t(last)), 0);
  CHECK_EQUAL(xensim_grant(shares, page, 0, 1), last);
}

CASE("a domain runs out of memory, and goes on when some is released") {
  Shares shares(1);
  void *big = xensim_allocate(shares, 30000);
  CHECK(big);
  CHECK_ERRNO(!xensim_allocate(shares, 3000), ENOMEM);
  CHECK_EQUAL(xensim_release(shares, big, 30000), 0);
  CHECK(xensim_allocate(shares, 3000));
}

CASE("pages that a peer maps when they are released live until it unmaps them") {
  Shares shares(1);
  Grants grants(0);
  auto *pages = static_cast<uint8_t *>(xensim_allocate(shares, 32768));
  int64_t ref = xensim_grant(shares, pages + 4096, 0, 1);
  pages[4096] = 77;
  auto *map = static_cast<uint8_t *>(xengnttab_map_grant_ref(grants, 1, uint32_t(ref), read_write));
  CHECK_EQUAL(xensim_release(shares, pages, 32768), 0);
  CHECK(map && map[0] == 77);
  CHECK_ERRNO(!xensim_allocate(shares, 32768), ENOMEM);
  CHECK_EQUAL(xengnttab_unmap(grants, map, 1), 0);
  CHECK(xensim_allocate(shares, 32768));
}

CASE("only pages of the handle can be granted or released") {
  Shares mine(1), other(1);
  int local;
  auto *page = static_cast<uint8_t *>(xensim_allocate(mine, 2));
  CHECK_ERRNO(xensim_grant(mine, &local, 0, 1) == -1, EINVAL);
  CHECK_ERRNO(xensim_grant(mine, page + 2 * 4096, 0, 1) == -1, EINVAL);
  CHECK_ERRNO(xensim_grant(mine, page, 0x7FF1, 1) == -1, EINVAL);
  CHECK_ERRNO(xensim_release(mine, page, 3) == -1, EINVAL);
  CHECK_ERRNO(xensim_release(mine, page + 4096, UINT32_MAX) == -1, EINVAL);
  int64_t ref = xensim_grant(mine, page + 4095, 0, 1);
  CHECK_ERRNO(xensim_end(other, uint32_t(ref)) == -1, EINVAL);
}

CASE("closing a handle ends what it granted and unmaps what it mapped") {
  Shares shares(1);
  int64_t ref;
  {
    Grants grants(0);
    ref = xensim_grant(shares, xensim_allocate(shares, 1), 0, 1);
    CHECK(xengnttab_map_grant_ref(grants, 1, uint32_t(ref), read_write));
    CHECK_ERRNO(xensim_end(shares, uint32_t(ref)) == -1, EBUSY);
  }
  CHECK_EQUAL(xensim_end(shares, uint32_t(ref)), 0);
  uint32_t other;
  {
    Shares gone(2);
    CHECK(xengntshr_share_pages(gone, 0, 1, &other, 1));
  }
  Grants grants(0);
  CHECK(!xengnttab_map_grant_ref(grants, 2, other, PROT_READ));
}

CASE("unmap notifications are refused, plain calls of those functions work") {
  Shares shares(1);
  Grants grants(0);
  uint32_t ref;
  CHECK_ERRNO(!xengntshr_share_page_notify(shares, 0, &ref, 1, 5, UINT32_MAX), ENOSYS);
  CHECK(xengntshr_share_page_notify(shares, 0, &ref, 1, UINT32_MAX, UINT32_MAX));
  CHECK_ERRNO(!xengnttab_map_grant_ref_notify(grants, 1, ref, PROT_READ, 5, UINT32_MAX), ENOSYS);
  CHECK(xengnttab_map_grant_ref_notify(grants, 1, ref, PROT_READ, UINT32_MAX, UINT32_MAX));
  CHECK_EQUAL(xengnttab_set_max_grants(grants, 100), 0);
}
