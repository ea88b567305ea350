#include "domains.h"

#include <dirent.h>
#include <dlfcn.h>
#include <string.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "xenlib.h"

namespace vifd {

namespace {

// The newest first: while Xen is upgraded there are two, and only the running one's is understood by the hypervisor.
std::vector<std::string> LibrariesIn(const std::string& directory) {
  std::vector<std::string> found;
  DIR* dir = opendir(directory.c_str());
  if (dir == nullptr) return found;
  constexpr char kName[] = "libxenctrl.so.";
  while (const dirent* entry = readdir(dir))
    if (strncmp(entry->d_name, kName, sizeof kName - 1) == 0) found.push_back(directory + "/" + entry->d_name);
  closedir(dir);
  std::sort(found.begin(), found.end(),
            [](const std::string& a, const std::string& b) { return strverscmp(a.c_str(), b.c_str()) > 0; });
  return found;
}

}  // namespace

Domains::~Domains() {
  if (interface_ != nullptr) lib_.interface_close(interface_);
}

int Domains::Exists(uint32_t domid) {
  if (interface_ == nullptr) {
    if (const int error = Open()) return error;
  }
  return Ask(domid);
}

int Domains::Ask(uint32_t domid) {
  // Not on the stack: a library that writes more than this has room.
  static thread_local DomainInfo info;
  errno = 0;
  const int count = lib_.domain_getinfolist(interface_, domid, 1, &info);
  if (count < 0) return errno != 0 ? -errno : -EIO;
  // If the domain does not exist, the call returns the next one, or none.
  return count == 1 && info.domid == domid && (info.flags & DOMINF_DYING) == 0;
}

// Opens the library at each question until it succeeds, because a missing file may appear later.
int Domains::Open() {
  int error = -ENOENT;
  for (const std::string& path : LibrariesIn(directory_)) {
    const int result = Try(path);
    if (result == 0) return 0;
    if (error == -ENOENT) error = result;
  }
  return error;
}

int Domains::Try(const std::string& path) {
  // Never closed, as in XenLib::Load. A library that cannot be used counts as missing.
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return -ENOENT;
  lib_.interface_open = reinterpret_cast<decltype(lib_.interface_open)>(dlsym(library, "xc_interface_open"));
  lib_.interface_close = reinterpret_cast<decltype(lib_.interface_close)>(dlsym(library, "xc_interface_close"));
  lib_.domain_getinfolist =
      reinterpret_cast<decltype(lib_.domain_getinfolist)>(dlsym(library, "xc_domain_getinfolist"));
  if (!lib_.interface_open || !lib_.interface_close || !lib_.domain_getinfolist) return -ENOENT;
  errno = 0;
  interface_ = lib_.interface_open(SilentLogger(), SilentLogger(), 0);
  if (interface_ == nullptr) return errno != 0 ? -errno : -EIO;
  // Domain 0 always exists. EPERM: this is not dom0. EACCES: the library belongs to another version of Xen.
  const int result = Ask(0);
  if (result == 1) return 0;
  lib_.interface_close(interface_);
  interface_ = nullptr;
  return result < 0 ? result : -EIO;
}

}  // namespace vifd
