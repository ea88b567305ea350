// Creating and mapping the shared files.
#pragma once

#include <cstdint>
#include <string>

namespace xensim {

// A file that is created whole or not at all: its first word, the magic number, is stored last.
struct FileSpec {
  uint64_t size;
  // These first bytes are allocated at once, so that touching them cannot raise SIGBUS on a full disk.
  uint64_t tables;
  void (*initialise)(void *start);
};

// Maps `path`, which it creates and initialises if it does not exist. Null with errno; EPROTO for a file of another version. The caller
// closes `*fd`.
void *open_shared(const std::string &path, const FileSpec &spec, bool create, int *fd);

// Not inherited by children: like gntdev's mappings (VM_DONTCOPY), ours do not survive fork.
void *map_shared(int fd, uint64_t size);

}  // namespace xensim
