// xensim's test program. With arguments it is a child in some role; without, it runs every case.
#include "test.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>

namespace test {

namespace {

struct Case {
  const char *name;
  void (*body)();
};

// A function's own, because cases register before main.
std::vector<Case> &cases() {
  static std::vector<Case> all;
  return all;
}

int failed_checks = 0;

bool run_case(const Case &one) {
  int before = failed_checks;
  int64_t start = now_ns();
  one.body();
  bool passed = failed_checks == before;
  printf("%s %s (%lld ms)\n", passed ? "ok  " : "FAIL", one.name, (long long)((now_ns() - start) / 1000000));
  fflush(stdout);
  return passed;
}

// A machine of its own for each case.
std::string make_machine() {
  const char *root = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
  std::string name = std::string(root) + "/xensim-test-XXXXXX";
  if (!mkdtemp(name.data())) abort();
  setenv("XENSIM", name.c_str(), 1);
  return name;
}

int run_all(const char *only) {
  int passed = 0, failed = 0;
  for (const Case &one : cases()) {
    if (only && !strstr(one.name, only)) continue;
    std::string machine = make_machine();
    (run_case(one) ? passed : failed)++;
    std::filesystem::remove_all(machine);
  }
  std::string machine = make_machine();
  if (!only || !strcmp(only, "bench")) run_benchmarks();
  std::filesystem::remove_all(machine);
  printf("%d passed, %d failed\n", passed, failed);
  return failed ? 1 : 0;
}

// In the child, between fork and exec.
[[noreturn]] void become_child(const std::vector<char *> &arguments, int input, int output, const char *crash) {
  dup2(input, 0);
  dup2(output, 1);
  if (crash) setenv("XENSIM_CRASH", crash, 1);
  execv("/proc/self/exe", arguments.data());
  _exit(127);
}

}  // namespace

Registration::Registration(const char *name, void (*body)()) { cases().push_back({name, body}); }

void report(const char *file, int line, const std::string &what) {
  failed_checks++;
  const char *base = strrchr(file, '/');
  printf("  %s:%d: %s (errno %d)\n", base ? base + 1 : file, line, what.c_str(), errno);
}

void become(uint32_t domid) { setenv("XENSIM_DOMID", std::to_string(domid).c_str(), 1); }

int64_t now_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

bool readable(int fd, int timeout_ms) {
  struct pollfd wait = {fd, POLLIN, 0};
  return poll(&wait, 1, timeout_ms) == 1;
}

Child::Child(uint32_t domid, const std::vector<std::string> &arguments, const char *crash_point) {
  int input[2], output[2];
  if (pipe2(input, O_CLOEXEC) != 0 || pipe2(output, O_CLOEXEC) != 0) abort();
  become(domid);
  std::vector<char *> pointers = {const_cast<char *>("xensim_test")};
  for (const std::string &argument : arguments) pointers.push_back(const_cast<char *>(argument.c_str()));
  pointers.push_back(nullptr);
  pid_ = fork();
  if (pid_ == 0) become_child(pointers, input[0], output[1], crash_point);
  close(input[0]);
  close(output[1]);
  input_ = input[1];
  output_ = output[0];
}

std::string Child::line() {
  std::string text;
  char c;
  while (readable(output_, 10000) && read(output_, &c, 1) == 1) {
    if (c == '\n') return text;
    text += c;
  }
  return text;
}

int Child::wait() {
  int status = 0;
  if (pid_ > 0) waitpid(pid_, &status, 0);
  pid_ = -1;
  close(input_);
  close(output_);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void Child::kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  wait();
}

int Child::finish() {
  close(input_);
  input_ = -1;
  return wait();
}

}  // namespace test

int main(int count, char **arguments) {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  if (count > 1 && strcmp(arguments[1], "--only") != 0)
    return test::run_child(std::vector<std::string>(arguments + 1, arguments + count));
  return test::run_all(count > 2 ? arguments[2] : nullptr);
}
