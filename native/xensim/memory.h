// Pages that a domain can grant, its grant table, and the mappings of all domains.
#pragma once

#include <cstdint>

#include "host.h"

namespace xensim {

// Functions that return int give 0 or an errno value.

// ---- lock-free: run once a frame ------------------------------------------------------------------

// Grants a page of this domain to `domid`. Returns a reference, or -errno.
int64_t grant_page(Host &host, uint32_t frame, uint32_t domid, bool writable);
int end_grant(Host &host, uint32_t ref);

// ---- take the host mutex --------------------------------------------------------------------------

int allocate_pages(Host &host, uint32_t count, uint32_t *frame);
// Ends the pages' grants. Pages that a peer has mapped become orphans, freed by its unmapping.
int release_pages(Host &host, uint32_t frame, uint32_t count);

// ---- the caller holds the host mutex --------------------------------------------------------------

struct Pinned {
  uint32_t mapping;
  uint32_t frame;
};
// Records that we map a grant of `domid`, which cannot be ended until `unpin`.
int pin(Host &host, uint32_t domid, uint32_t ref, bool writable, Pinned *pinned);
void unpin(Host &host, uint32_t mapping);
void unpin_all(Host &host, uint32_t session);
// Cleans up after a session that is gone: ends its grants, and frees its pages or makes them orphans.
void surrender_pages(Host &host, uint32_t domid, uint32_t session);
// Counts all pins again, from the mappings.
void rebuild_pins(Host &host);

}  // namespace xensim
