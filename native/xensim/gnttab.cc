// libxengnttab, the using side: mapping and copying what other domains granted.

#include <sys/mman.h>

#include <cstring>

#include "handle.h"
#include "memory.h"

namespace xensim {

namespace {

// drivers/xen/gntdev.c: the module parameter `limit`.
constexpr uint32_t max_map_count = 65536;

// ---- copying --------------------------------------------------------------------------------------

struct Place {
  uint8_t *bytes;
  // Null for the caller's own memory.
  const std::atomic<uint64_t> *entry;
  uint64_t grant;
};

// Whether a process of the domain has an open handle, so that the domain exists. Called only if a grant is missing.
bool is_there(Host &host, uint32_t domid) {
  Lock lock(host);
  host.reap_dead();
  for (const Session &session : host.state().sessions)
    if (session.used.load() && session.domid == domid) return true;
  return false;
}

// The checks of Xen's gnttab_copy_one, in its order, with its codes (xen/common/grant_table.c): only a
// reference beyond the table is GNTST_bad_gntref; one that is not granted, or not to us, or read-only
// where we write, is GNTST_general_error.
template <typename Foreign>
inline int16_t find_place(Host &host, const Foreign &foreign, uint32_t length, bool write, Place *place) {
  Peer *peer = host.peer(foreign.domid);
  if (__builtin_expect(!peer, 0)) return status_bad_domain;
  if (__builtin_expect(foreign.ref >= max_grants, 0))
    return is_there(host, foreign.domid) ? status_bad_gntref : status_bad_domain;
  place->entry = &peer->tables->grants[foreign.ref];
  place->grant = place->entry->load(std::memory_order_acquire);
  uint64_t wanted = make_grant(grant_permit, host.domid(), 0, 0);
  uint64_t checked = make_grant(grant_permit | (write ? grant_readonly : 0), 0xFFFF, 0, 0);
  if (__builtin_expect((place->grant & checked) != wanted, 0))
    return is_there(host, foreign.domid) ? status_general_error : status_bad_domain;
  uint32_t frame = grant_frame(place->grant);
  if (__builtin_expect(frame >= max_pages, 0)) return status_general_error;
  if (__builtin_expect(foreign.offset + length > page_size, 0)) return status_bad_copy_arg;
  place->bytes = peer->memory + size_t{frame} * page_size + foreign.offset;
  return status_okay;
}

inline int16_t copy_segment(Host &host, const xengnttab_grant_copy_segment_t &segment) {
  Place source = {static_cast<uint8_t *>(segment.source.virt), nullptr, 0};
  Place dest = {static_cast<uint8_t *>(segment.dest.virt), nullptr, 0};
  if (segment.flags & copy_source_gref)
    if (int16_t status = find_place(host, segment.source.foreign, segment.len, false, &source)) return status;
  if (segment.flags & copy_dest_gref)
    if (int16_t status = find_place(host, segment.dest.foreign, segment.len, true, &dest)) return status;
  memmove(dest.bytes, source.bytes, segment.len);
  if (!source.entry) return status_okay;
  // Xen pins the grant while it copies. This checks the grant again instead: a copy that raced the end of the grant may have read bytes of
  // the page's next owner, and is reported as if it had come after the end.
  std::atomic_thread_fence(std::memory_order_acquire);
  uint64_t changed = source.entry->load(std::memory_order_relaxed) ^ source.grant;
  return changed & ~(grant_in_use | grant_orphan | make_grant(0, 0, 0, no_session)) ? status_general_error
                                                                                   : status_okay;
}

// ---- mapping --------------------------------------------------------------------------------------

struct Request {
  uint32_t count;
  // One for each reference, or one for all.
  const uint32_t *domids;
  uint32_t domid_stride;
  const uint32_t *refs;
  int prot;

  uint32_t domid(uint32_t i) const { return domids[i * domid_stride]; }
};

void unpin_list(Host &host, const std::vector<uint32_t> &mappings) {
  Lock lock(host);
  for (uint32_t mapping : mappings) unpin(host, mapping);
}

// All or none.
int pin_list(Host &host, const Request &request, std::vector<uint32_t> *mappings, std::vector<uint32_t> *frames) {
  mappings->reserve(request.count);
  frames->reserve(request.count);
  Lock lock(host);
  for (uint32_t i = 0; i < request.count; i++) {
    Pinned pinned;
    if (int error = pin(host, request.domid(i), request.refs[i], request.prot & PROT_WRITE, &pinned)) {
      for (uint32_t mapping : *mappings) unpin(host, mapping);
      return error;
    }
    mappings->push_back(pinned.mapping);
    frames->push_back(pinned.frame);
  }
  return 0;
}

// Maps neighbouring frames in one call: a ring and the page after it are often granted together.
bool place_frames(Host &host, const Request &request, const std::vector<uint32_t> &frames, uint8_t *start) {
  for (uint32_t i = 0, run; i < request.count; i += run) {
    run = 1;
    while (i + run < request.count && request.domid(i + run) == request.domid(i) &&
           frames[i + run] == frames[i] + run)
      run++;
    off_t offset = off_t(memory_offset + uint64_t{frames[i]} * page_size);
    void *at = mmap(start + size_t{i} * page_size, size_t{run} * page_size, request.prot,
                    MAP_SHARED | MAP_FIXED | MAP_POPULATE, host.peer(request.domid(i))->fd, offset);
    if (at == MAP_FAILED) return false;
  }
  madvise(start, size_t{request.count} * page_size, MADV_DONTFORK);
  return true;
}

void *map(xengnttab_handle *handle, const Request &request) {
  if (request.count == 0 || request.count > max_map_count) return fail_null(EINVAL);
  Host &host = *handle->host;
  size_t bytes = size_t{request.count} * page_size;
  uint8_t *start = reserve(bytes);
  if (!start) return nullptr;
  std::vector<uint32_t> mappings, frames;
  int error = pin_list(host, request, &mappings, &frames);
  if (!error && !place_frames(host, request, frames, start)) {
    error = errno;
    munmap(start, bytes);
    unpin_list(host, mappings);
    return fail_null(error);
  }
  if (error) {
    munmap(start, bytes);
    return fail_null(error);
  }
  std::lock_guard<std::mutex> guard(handle->mutex);
  handle->mapped.emplace(start, std::move(mappings));
  return start;
}

// Unmaps before it unpins, because the owner may reuse the page from then on.
void unmap(Host &host, void *start, const std::vector<uint32_t> &mappings) {
  munmap(start, mappings.size() * page_size);
  unpin_list(host, mappings);
}

}  // namespace

uint8_t *reserve(size_t bytes) {
  void *start = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return start == MAP_FAILED ? nullptr : static_cast<uint8_t *>(start);
}

xengntdev_handle *open_handle() {
  std::unique_ptr<Host> host = Host::open(true);
  if (!host) return nullptr;
  auto *handle = new xengntdev_handle();
  handle->host = std::move(host);
  return handle;
}

}  // namespace xensim

using namespace xensim;

extern "C" {

XENSIM_EXPORT xengnttab_handle *xengnttab_open(xentoollog_logger *, unsigned) { return open_handle(); }

XENSIM_EXPORT int xengnttab_close(xengnttab_handle *handle) {
  if (!handle) return 0;
  if (!handle->host->inherited())
    for (auto &entry : handle->mapped) unmap(*handle->host, entry.first, entry.second);
  delete handle;
  return 0;
}

XENSIM_EXPORT int xengnttab_fd(xengnttab_handle *handle) { return handle->host->fd(); }

XENSIM_EXPORT void *xengnttab_map_grant_ref(xengnttab_handle *handle, uint32_t domid, uint32_t ref, int prot) {
  return map(handle, {1, &domid, 0, &ref, prot});
}

XENSIM_EXPORT void *xengnttab_map_grant_refs(xengnttab_handle *handle, uint32_t count, uint32_t *domids,
                                             uint32_t *refs, int prot) {
  return map(handle, {count, domids, 1, refs, prot});
}

XENSIM_EXPORT void *xengnttab_map_domain_grant_refs(xengnttab_handle *handle, uint32_t count, uint32_t domid,
                                                    uint32_t *refs, int prot) {
  return map(handle, {count, &domid, 0, refs, prot});
}

// Without a notification it is a plain map (tools/include/xengnttab.h: -1 for none).
XENSIM_EXPORT void *xengnttab_map_grant_ref_notify(xengnttab_handle *handle, uint32_t domid, uint32_t ref, int prot,
                                                   uint32_t notify_offset, evtchn_port_t notify_port) {
  if (notify_offset != UINT32_MAX || notify_port != UINT32_MAX) return fail_null(ENOSYS);
  return map(handle, {1, &domid, 0, &ref, prot});
}

// As gntdev, which unmaps only all pages of one map call.
XENSIM_EXPORT int xengnttab_unmap(xengnttab_handle *handle, void *start, uint32_t count) {
  std::vector<uint32_t> mappings;
  {
    std::lock_guard<std::mutex> guard(handle->mutex);
    auto entry = handle->mapped.find(start);
    if (entry == handle->mapped.end() || entry->second.size() != count) return fail(EINVAL);
    mappings = std::move(entry->second);
    handle->mapped.erase(entry);
  }
  unmap(*handle->host, start, mappings);
  return 0;
}

// Current kernels know no such limit, and the library ignores that they do not (ENOTTY).
XENSIM_EXPORT int xengnttab_set_max_grants(xengnttab_handle *, uint32_t) { return 0; }

XENSIM_EXPORT int xengnttab_grant_copy(xengnttab_handle *handle, uint32_t count,
                                       xengnttab_grant_copy_segment_t *segments) {
  Host &host = *handle->host;
  for (uint32_t i = 0; i < count; i++) {
    xengnttab_grant_copy_segment_t &segment = segments[i];
    // gntdev refuses the call at the first segment that is local on both sides.
    if (!(segment.flags & (copy_source_gref | copy_dest_gref))) return fail(EINVAL);
    // gntdev makes no operation for an empty segment, so nothing checks its reference.
    segment.status = segment.len ? copy_segment(host, segment) : status_okay;
  }
  return 0;
}

}  // extern "C"
