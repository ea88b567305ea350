// A small harness: named cases, child processes of this very program, and the handles under test.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "abi.h"

namespace test {

struct Registration {
  Registration(const char *name, void (*body)());
};

// Reports a failed check of the running case, which continues.
void report(const char *file, int line, const std::string &what);

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define CASE(name)                                                                \
  static void JOIN(case_, __LINE__)();                                            \
  static test::Registration JOIN(registration_, __LINE__)(name, JOIN(case_, __LINE__)); \
  static void JOIN(case_, __LINE__)()
#define CHECK(condition) \
  do {                   \
    if (!(condition)) test::report(__FILE__, __LINE__, #condition); \
  } while (0)
#define CHECK_EQUAL(actual, expected)                                                                \
  do {                                                                                               \
    long long a_ = (long long)(actual), e_ = (long long)(expected);                                  \
    if (a_ != e_)                                                                                    \
      test::report(__FILE__, __LINE__,                                                               \
                   #actual " is " + std::to_string(a_) + ", not " + std::to_string(e_));             \
  } while (0)
#define CHECK_ERRNO(expression, value) \
  do {                                 \
    errno = 0;                         \
    CHECK(expression);                 \
    CHECK_EQUAL(errno, value);         \
  } while (0)

// Sets $XENSIM_DOMID for the handles that this process and its children open next.
void become(uint32_t domid);
int64_t now_ns();
// Whether the descriptor becomes readable within this time.
bool readable(int fd, int timeout_ms);
// Shared memory's counters.
inline std::atomic<uint64_t> &counter(void *page) { return *static_cast<std::atomic<uint64_t> *>(page); }

// This program, run again in a role of test_children.cc as a domain of its own. The destructor kills it.
class Child {
 public:
  Child(uint32_t domid, const std::vector<std::string> &arguments, const char *crash_point = nullptr);
  ~Child() { kill(); }
  Child(const Child &) = delete;
  Child &operator=(const Child &) = delete;
  // Its next line of output, or "" at its end or after ten seconds.
  std::string line();
  // SIGKILL, and wait: like Xen, xensim sees a death when the kernel has closed the process's files.
  void kill();
  // Waits for the process to end. Returns its exit code, or minus the signal that ended it.
  int finish();

 private:
  int wait();
  pid_t pid_ = -1;
  int input_ = -1;
  int output_ = -1;
};

int run_child(const std::vector<std::string> &arguments);
void run_benchmarks();

// Handles that close themselves.
struct Shares {
  xengntshr_handle *handle;
  explicit Shares(uint32_t domid) {
    become(domid);
    handle = xengntshr_open(nullptr, 0);
    CHECK(handle);
  }
  ~Shares() { xengntshr_close(handle); }
  operator xengntshr_handle *() const { return handle; }
};
struct Grants {
  xengnttab_handle *handle;
  explicit Grants(uint32_t domid) {
    become(domid);
    handle = xengnttab_open(nullptr, 0);
    CHECK(handle);
  }
  ~Grants() { xengnttab_close(handle); }
  operator xengnttab_handle *() const { return handle; }
};
struct Events {
  xenevtchn_handle *handle;
  explicit Events(uint32_t domid) {
    become(domid);
    handle = xenevtchn_open(nullptr, 0);
    CHECK(handle);
  }
  ~Events() { xenevtchn_close(handle); }
  operator xenevtchn_handle *() const { return handle; }
};

}  // namespace test
