#include "memory.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <vector>

namespace xensim {

namespace {

// ---- pages ----------------------------------------------------------------------------------------

// Gives the memory back to the machine. The file keeps its size, so stale mappings read zeros.
void free_page(Peer &peer, uint32_t frame) {
  peer.tables->pages[frame] = page_free;
  off_t offset = off_t(memory_offset + uint64_t{frame} * page_size);
  // Where the file system cannot, the next allocation still clears the page.
  (void)!fallocate(peer.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, page_size);
}

bool find_run(const Domain &domain, uint32_t count, uint32_t *first) {
  uint32_t run = 0;
  for (uint32_t frame = 0; frame < max_pages; frame++) {
    run = domain.pages[frame] == page_free ? run + 1 : 0;
    if (run == count) {
      *first = frame + 1 - count;
      return true;
    }
  }
  return false;
}

bool is_granted(const Domain &domain, uint32_t frame) {
  for (const auto &entry : domain.grants) {
    uint64_t grant = entry.load(std::memory_order_relaxed);
    if ((grant & grant_permit) && grant_frame(grant) == frame) return true;
  }
  return false;
}

// The last mapping of a page without an owner is gone, and no other code will end this grant.
void bury(Peer &peer, uint32_t ref) {
  uint32_t frame = grant_frame(peer.tables->grants[ref].exchange(0));
  if (frame < max_pages && peer.tables->pages[frame] == page_orphan && !is_granted(*peer.tables, frame))
    free_page(peer, frame);
}

// Ends a grant that its owner gives up, unless a peer has it mapped: then the last unmap ends it. Returns true in that case.
bool abandon(std::atomic<uint64_t> &entry) {
  uint64_t grant = entry.load();
  for (;;) {
    bool in_use = grant & grant_in_use;
    uint64_t orphan = grant | grant_orphan | make_grant(0, 0, 0, no_session);
    if (entry.compare_exchange_weak(grant, in_use ? orphan : 0)) return in_use;
  }
}

// Ends the grants of `session`'s pages in [frame, frame + count), then frees the pages.
void give_up(Peer &peer, uint32_t session, uint32_t frame, uint32_t count) {
  std::vector<bool> in_use(count);
  for (auto &entry : peer.tables->grants) {
    uint64_t grant = entry.load();
    uint32_t index = grant_frame(grant) - frame;
    if (!(grant & grant_permit) || grant_session(grant) != session || index >= count) continue;
    if (abandon(entry)) in_use[index] = true;
  }
  for (uint32_t i = 0; i < count; i++) {
    uint16_t &owner = peer.tables->pages[frame + i];
    if (owner != session + 1) continue;
    if (in_use[i])
      owner = page_orphan;
    else
      free_page(peer, frame + i);
  }
}

// ---- pins -----------------------------------------------------------------------------------------

bool find_mapping(State &state, uint32_t *found) {
  for (uint32_t i = 0; i < max_mappings; i++) {
    uint32_t index = (state.next_mapping + i) % max_mappings;
    if (state.mappings[index].load(std::memory_order_relaxed)) continue;
    state.next_mapping = index + 1;
    if (index >= state.mappings_end) state.mappings_end = index + 1;
    *found = index;
    return true;
  }
  return false;
}

// As Xen's _set_status_v1 (xen/common/grant_table.c): after a few attempts the guest counts as misbehaving.
int mark_in_use(std::atomic<uint64_t> &entry, uint32_t domid, bool writable, uint32_t *frame) {
  uint64_t grant = entry.load();
  for (int attempt = 0; attempt < 5; attempt++) {
    if (!(grant & grant_permit) || grant_domid(grant) != domid) return EINVAL;
    if (writable && (grant & grant_readonly)) return EINVAL;
    *frame = grant_frame(grant);
    if (*frame >= max_pages) return EINVAL;
    uint64_t use = grant_reading | (writable ? grant_writing : 0);
    if (entry.compare_exchange_strong(grant, grant | use)) return 0;
  }
  return EINVAL;
}

void count_pin(Pins &pins, bool writable) {
  pins.all++;
  if (writable) pins.writers++;
}

void uncount_pin(Pins &pins, bool writable) {
  if (pins.all > 0) pins.all--;
  if (writable && pins.writers > 0) pins.writers--;
}

// Sets a grant's in-use flags according to its pins.
void settle(Peer &peer, uint32_t ref) {
  const Pins &pins = peer.tables->pins[ref];
  std::atomic<uint64_t> &entry = peer.tables->grants[ref];
  uint64_t use = (pins.all ? grant_reading : 0) | (pins.writers ? grant_writing : 0);
  uint64_t grant = entry.load();
  while ((grant & grant_permit) && (grant & grant_in_use) != use)
    if (entry.compare_exchange_weak(grant, (grant & ~grant_in_use) | use)) break;
  if ((grant & grant_permit) && (grant & grant_orphan) && !use) bury(peer, ref);
}

int end_once(std::atomic<uint64_t> &entry, uint32_t session) {
  uint64_t grant = entry.load(std::memory_order_relaxed);
  for (;;) {
    if (!(grant & grant_permit) || grant_session(grant) != session) return EINVAL;
    if (grant & grant_in_use) return EBUSY;
    if (entry.compare_exchange_weak(grant, 0)) return 0;
  }
}

}  // namespace

// ---- granting -------------------------------------------------------------------------------------

// References are used in turn through the whole table, so that a stale one is likely refused.
int64_t grant_page(Host &host, uint32_t frame, uint32_t domid, bool writable) {
  Domain &domain = *host.own().tables;
  if (domid == domid_self) domid = host.domid();
  if (domid >= domid_self || frame >= max_pages || domain.pages[frame] != host.slot() + 1) return -EINVAL;
  uint64_t grant = make_grant(grant_permit | (writable ? 0 : grant_readonly), domid, frame, host.slot());
  for (uint32_t tries = 0; tries < max_grants; tries++) {
    uint32_t ref = domain.next_ref.fetch_add(1, std::memory_order_relaxed) % max_grants;
    uint64_t none = 0;
    if (ref >= first_ref && domain.grants[ref].compare_exchange_strong(none, grant)) return ref;
  }
  return -ENOSPC;
}

int end_grant(Host &host, uint32_t ref) {
  if (ref >= max_grants) return EINVAL;
  std::atomic<uint64_t> &entry = host.own().tables->grants[ref];
  int error = end_once(entry, host.slot());
  if (error != EBUSY) return error;
  {
    Lock lock(host);
    host.reap_dead();
  }
  return end_once(entry, host.slot());
}

// ---- pages ----------------------------------------------------------------------------------------

int allocate_pages(Host &host, uint32_t count, uint32_t *frame) {
  Peer &own = host.own();
  if (count == 0 || count > max_pages) return EINVAL;
  Lock lock(host);
  if (!find_run(*own.tables, count, frame)) {
    host.reap_dead();
    if (!find_run(*own.tables, count, frame)) return ENOMEM;
  }
  uint64_t start = uint64_t{*frame} * page_size;
  uint64_t bytes = uint64_t{count} * page_size;
  // Allocates now, so that a full disk is an error here and not SIGBUS in the process that touches the page.
  if (posix_fallocate(own.fd, off_t(memory_offset + start), off_t(bytes)) != 0) return ENOMEM;
  memset(own.memory + start, 0, bytes);
  for (uint32_t i = 0; i < count; i++) own.tables->pages[*frame + i] = uint16_t(host.slot() + 1);
  return 0;
}

int release_pages(Host &host, uint32_t frame, uint32_t count) {
  if (count == 0 || frame >= max_pages || count > max_pages - frame) return EINVAL;
  Lock lock(host);
  for (uint32_t i = 0; i < count; i++)
    if (host.own().tables->pages[frame + i] != host.slot() + 1) return EINVAL;
  give_up(host.own(), host.slot(), frame, count);
  return 0;
}

void surrender_pages(Host &host, uint32_t domid, uint32_t session) {
  if (Peer *peer = host.peer(domid)) give_up(*peer, session, 0, max_pages);
}

// ---- mapping --------------------------------------------------------------------------------------

int pin(Host &host, uint32_t domid, uint32_t ref, bool writable, Pinned *pinned) {
  Peer *peer = host.peer(domid);
  if (!peer || ref >= max_grants) return EINVAL;
  if (domid == domid_self) domid = host.domid();
  if (!find_mapping(host.state(), &pinned->mapping)) return ENOSPC;
  std::atomic<uint64_t> &mapping = host.state().mappings[pinned->mapping];
  // Recorded first, so that a death from here on leaves a record of the work to undo.
  mapping.store(make_mapping(host.slot(), domid, ref, writable));
  host.crash_point("pinning");
  int error = mark_in_use(peer->tables->grants[ref], host.domid(), writable, &pinned->frame);
  host.crash_point("pinned");
  if (error)
    mapping.store(0);
  else
    count_pin(peer->tables->pins[ref], writable);
  return error;
}

void unpin(Host &host, uint32_t index) {
  std::atomic<uint64_t> &entry = host.state().mappings[index];
  uint64_t mapping = entry.load();
  Peer *peer = host.peer(mapping_domid(mapping));
  uint32_t ref = mapping_ref(mapping);
  if (peer && ref < max_grants) {
    uncount_pin(peer->tables->pins[ref], mapping & mapping_writable);
    host.crash_point("unpinning");
    settle(*peer, ref);
  }
  entry.store(0);
}

void unpin_all(Host &host, uint32_t session) {
  for (uint32_t i = 0; i < host.state().mappings_end; i++) {
    uint64_t mapping = host.state().mappings[i].load(std::memory_order_relaxed);
    if ((mapping & mapping_used) && mapping_session(mapping) == session) unpin(host, i);
  }
}

void rebuild_pins(Host &host) {
  State &state = host.state();
  for (uint32_t domid = 0; domid < domid_self; domid++)
    if (Peer *peer = state.domains[domid].load() ? host.peer(domid) : nullptr)
      memset(peer->tables->pins, 0, sizeof peer->tables->pins);
  for (uint32_t i = 0; i < state.mappings_end; i++) {
    uint64_t mapping = state.mappings[i].load();
    Peer *peer = mapping & mapping_used ? host.peer(mapping_domid(mapping)) : nullptr;
    uint32_t ref = mapping_ref(mapping);
    if (peer && ref < max_grants) count_pin(peer->tables->pins[ref], mapping & mapping_writable);
  }
  for (uint32_t domid = 0; domid < domid_self; domid++)
    if (Peer *peer = state.domains[domid].load() ? host.peer(domid) : nullptr)
      for (uint32_t ref = first_ref; ref < max_grants; ref++) settle(*peer, ref);
}

}  // namespace xensim
