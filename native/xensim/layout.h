// The content of the files of a xensim directory, which all processes share. Every record that may be read without the host mutex is one
// atomic word, so that a process that is killed at any instruction leaves either the old state or the new one.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>

namespace xensim {

// Spells "xensim" and the version of this layout; a directory of another version is refused.
constexpr uint64_t layout_magic = 0x78656e73696d0001;

// Grants are in units of 4 KiB whatever the machine's page size is (xen/grant_table.h).
constexpr uint32_t page_size = 4096;
// xen/include/public/xen.h: domain ids from here on are reserved, this one means "oneself".
constexpr uint32_t domid_self = 0x7FF0;
constexpr uint32_t max_sessions = 1024;
constexpr uint32_t no_session = 0xFFFF;
constexpr uint32_t max_mappings = 131072;
constexpr uint32_t max_grants = 32768;
// 128 MiB of memory that a domain can grant from.
constexpr uint32_t max_pages = 32768;
constexpr uint32_t max_ports = 4096;
// xen/include/public/grant_table.h: GNTTAB_NR_RESERVED_ENTRIES.
constexpr uint32_t first_ref = 8;

static_assert(std::atomic<uint64_t>::is_always_lock_free && std::atomic<uint32_t>::is_always_lock_free);

// ---- grants ---------------------------------------------------------------------------------------

// The low 16 bits are those of Xen's grant_entry_v1.flags. grant_orphan is xensim's own: the owner gave the page up while a peer had it
// mapped.
constexpr uint64_t grant_permit = 1 << 0;
constexpr uint64_t grant_readonly = 1 << 2;
constexpr uint64_t grant_reading = 1 << 3;
constexpr uint64_t grant_writing = 1 << 4;
constexpr uint64_t grant_orphan = 1 << 15;
constexpr uint64_t grant_in_use = grant_reading | grant_writing;

constexpr uint64_t make_grant(uint64_t flags, uint32_t domid, uint32_t frame, uint32_t session) {
  return flags | uint64_t{domid} << 16 | uint64_t{frame} << 32 | uint64_t{session} << 48;
}
constexpr uint32_t grant_domid(uint64_t grant) { return grant >> 16 & 0xFFFF; }
constexpr uint32_t grant_frame(uint64_t grant) { return grant >> 32 & 0xFFFF; }
constexpr uint32_t grant_session(uint64_t grant) { return grant >> 48; }

// How often a grant is mapped. Derived from State::mappings, rebuilt after a death under the mutex.
struct Pins {
  uint32_t all;
  uint32_t writers;
};

// Values of Domain::pages besides session + 1.
constexpr uint16_t page_free = 0;
constexpr uint16_t page_orphan = 0xFFFF;

// ---- event channels -------------------------------------------------------------------------------

enum class PortState : uint32_t { free = 0, unbound = 1, interdomain = 2 };

constexpr uint64_t make_link(PortState state, uint32_t remote_domid, uint32_t remote_port, uint32_t session) {
  return uint64_t(state) | uint64_t{remote_domid} << 16 | uint64_t{remote_port} << 32 | uint64_t{session} << 48;
}
constexpr PortState link_state(uint64_t link) { return PortState(link & 3); }
constexpr uint32_t link_remote_domid(uint64_t link) { return link >> 16 & 0xFFFF; }
constexpr uint32_t link_remote_port(uint64_t link) { return link >> 32 & 0xFFFF; }
constexpr uint32_t link_session(uint64_t link) { return link >> 48; }

constexpr uint32_t event_pending = 1 << 0;
constexpr uint32_t event_masked = 1 << 1;

struct Port {
  std::atomic<uint64_t> link;
  std::atomic<uint32_t> events;
  uint32_t unused;
};

// ---- one domain: file domain-<id> -----------------------------------------------------------------

struct Domain {
  std::atomic<uint64_t> magic;
  alignas(64) std::atomic<uint32_t> next_ref;
  uint32_t next_port;
  alignas(64) std::atomic<uint64_t> grants[max_grants];
  Pins pins[max_grants];
  uint16_t pages[max_pages];
  Port ports[max_ports];
};

// The domain's memory follows its tables in the file.
constexpr uint64_t memory_offset = (sizeof(Domain) + page_size - 1) / page_size * page_size;
constexpr uint64_t domain_file_size = memory_offset + uint64_t{max_pages} * page_size;

// ---- the machine: file state ----------------------------------------------------------------------

// One open handle. It lasts as long as the OFD lock on its file session-<n>.
struct alignas(64) Session {
  std::atomic<uint32_t> used;
  uint32_t domid;
  // The only domain that it may bind to, or 0: domain 0 cannot be restricted to (drivers/xen/evtchn.c).
  std::atomic<uint32_t> restricted_to;
  uint32_t unused;
  uint64_t inode;
  // Even: the generation of the reader's last reading of its ports. Odd: the same, and a wake-up byte was written since.
  std::atomic<uint64_t> wake;
};

// A mapping of a peer's grant: what Xen calls maptrack. Zero when free.
constexpr uint64_t mapping_used = uint64_t{1} << 63;
constexpr uint64_t mapping_writable = uint64_t{1} << 62;
constexpr uint64_t make_mapping(uint32_t session, uint32_t domid, uint32_t ref, bool writable) {
  return mapping_used | (writable ? mapping_writable : 0) | session | uint64_t{domid} << 16 | uint64_t{ref} << 32;
}
constexpr uint32_t mapping_session(uint64_t mapping) { return mapping & 0xFFFF; }
constexpr uint32_t mapping_domid(uint64_t mapping) { return mapping >> 16 & 0xFFFF; }
constexpr uint32_t mapping_ref(uint64_t mapping) { return mapping >> 32 & 0xFFFF; }

struct State {
  std::atomic<uint64_t> magic;
  // Guards everything but the lock-free operations: granting, ending, copying, notifying.
  pthread_mutex_t mutex;
  // How often a process died holding the mutex. For tests.
  std::atomic<uint32_t> recoveries;
  // Where to look next for a free mapping, and one past the highest that was ever used.
  uint32_t next_mapping;
  uint32_t mappings_end;
  // Which domains have a file.
  std::atomic<uint8_t> domains[domid_self];
  Session sessions[max_sessions];
  std::atomic<uint64_t> mappings[max_mappings];
};

}  // namespace xensim
