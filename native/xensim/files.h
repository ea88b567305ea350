// Creating and mapping the shared files.
#pragma once

#include <cstdint>
#include <string>

namespace xensim {

// A file that is created whole or not at all: magic, its first word, is stored last.
struct FileSpec {
  uint64_t size;
  // These first bytes are allocated at once, so that touching them cannot raise SIGBUS on a full disk.
  uint64_t tables;
  void (*initialise)(void *start);
};

// Maps `path`, creating and initialising it if need be. Null with errno; EPROTO for another version's file.
// `*fd` is the caller's to close.
void *open_shared(const std::string &path, const FileSpec &spec, bool create, int *fd);

// Not inherited by children: like gntdev's mappings (VM_DONTCOPY), ours do not survive fork.
void *map_shared(int fd, uint64_t size);

}  // namespace xensim
