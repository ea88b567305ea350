// libxengnttab, the granting side, and xensim's extensions to it.

#include <sys/mman.h>

#include "handle.h"
#include "memory.h"

namespace xensim {

namespace {

bool frame_of(const xengntshr_handle *handle, const void *address, uint32_t *frame) {
  size_t offset = size_t(static_cast<const uint8_t *>(address) - handle->window);
  *frame = uint32_t(offset / page_size);
  return offset < window_size;
}

bool show(xengntshr_handle *handle, uint32_t frame, uint32_t pages) {
  size_t offset = size_t{frame} * page_size;
  size_t bytes = size_t{pages} * page_size;
  void *at = mmap(handle->window + offset, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_POPULATE,
                  handle->host->own().fd, off_t(memory_offset + offset));
  if (at == MAP_FAILED) return false;
  madvise(at, bytes, MADV_DONTFORK);
  return true;
}

void hide(xengntshr_handle *handle, uint32_t frame, uint32_t pages) {
  mmap(handle->window + size_t{frame} * page_size, size_t{pages} * page_size, PROT_NONE,
       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

void *allocate(xengntshr_handle *handle, uint32_t pages) {
  uint32_t frame;
  if (int error = allocate_pages(*handle->host, pages, &frame)) return fail_null(error);
  if (show(handle, frame, pages)) return handle->window + size_t{frame} * page_size;
  int error = errno;
  release_pages(*handle->host, frame, pages);
  return fail_null(error);
}

// Unmaps the pages first: another process may get them as soon as they are free.
int release(xengntshr_handle *handle, void *start, uint32_t pages) {
  uint32_t frame;
  if (!frame_of(handle, start, &frame) || pages == 0 || pages > max_pages - frame) return fail(EINVAL);
  for (uint32_t i = 0; i < pages; i++)
    if (handle->host->own().tables->pages[frame + i] != handle->host->slot() + 1) return fail(EINVAL);
  hide(handle, frame, pages);
  int error = release_pages(*handle->host, frame, pages);
  return error ? fail(error) : 0;
}

void *share(xengntshr_handle *handle, uint32_t domid, uint32_t pages, uint32_t *refs, bool writable) {
  auto *start = static_cast<uint8_t *>(allocate(handle, pages));
  if (!start) return nullptr;
  uint32_t frame;
  frame_of(handle, start, &frame);
  for (uint32_t i = 0; i < pages; i++) {
    int64_t ref = grant_page(*handle->host, frame + i, domid, writable);
    if (ref < 0) {
      release(handle, start, pages);
      return fail_null(int(-ref));
    }
    refs[i] = uint32_t(ref);
  }
  return start;
}

}  // namespace

}  // namespace xensim

using namespace xensim;

extern "C" {

XENSIM_EXPORT xengntshr_handle *xengntshr_open(xentoollog_logger *, unsigned) {
  xengntshr_handle *handle = open_handle();
  if (!handle) return nullptr;
  handle->window = reserve(window_size);
  if (handle->window) {
    madvise(handle->window, window_size, MADV_DONTFORK);
    return handle;
  }
  int error = errno;
  delete handle;
  errno = error;
  return nullptr;
}

XENSIM_EXPORT int xengntshr_close(xengntshr_handle *handle) {
  if (!handle) return 0;
  if (!handle->host->inherited()) munmap(handle->window, window_size);
  delete handle;
  return 0;
}

XENSIM_EXPORT int xengntshr_fd(xengntshr_handle *handle) { return handle->host->fd(); }

XENSIM_EXPORT void *xengntshr_share_pages(xengntshr_handle *handle, uint32_t domid, int count, uint32_t *refs,
                                          int writable) {
  if (count <= 0) return fail_null(EINVAL);
  return share(handle, domid, uint32_t(count), refs, writable != 0);
}

// Without a notification it is a plain share (tools/include/xengnttab.h: -1 for none).
XENSIM_EXPORT void *xengntshr_share_page_notify(xengntshr_handle *handle, uint32_t domid, uint32_t *ref, int writable,
                                                uint32_t notify_offset, evtchn_port_t notify_port) {
  if (notify_offset != UINT32_MAX || notify_port != UINT32_MAX) return fail_null(ENOSYS);
  return share(handle, domid, 1, ref, writable != 0);
}

XENSIM_EXPORT int xengntshr_unshare(xengntshr_handle *handle, void *start, uint32_t count) {
  return release(handle, start, count);
}

XENSIM_EXPORT void *xensim_allocate(xengntshr_handle *handle, uint32_t pages) { return allocate(handle, pages); }

XENSIM_EXPORT int xensim_release(xengntshr_handle *handle, void *start, uint32_t pages) {
  return release(handle, start, pages);
}

XENSIM_EXPORT int64_t xensim_grant(xengntshr_handle *handle, const void *page, uint32_t domid, int writable) {
  uint32_t frame;
  if (!frame_of(handle, page, &frame)) return fail(EINVAL);
  int64_t ref = grant_page(*handle->host, frame, domid, writable != 0);
  return ref < 0 ? fail(int(-ref)) : ref;
}

XENSIM_EXPORT int xensim_end(xengntshr_handle *handle, uint32_t ref) {
  int error = end_grant(*handle->host, ref);
  return error ? fail(error) : 0;
}

}  // extern "C"
