#include "xenlib.h"

#include <dlfcn.h>

#include <cstdarg>

#include "domains.h"
#include "events.h"
#include "grants.h"
#include "shares.h"

namespace vifd {

namespace {

// `struct xentoollog_logger` of xentoollog.h: three functions.
struct Logger {
  void (*vmessage)(xentoollog_logger*, int level, int error, const char* context, const char* format, va_list);
  void (*progress)(xentoollog_logger*, const char* context, const char* what, int percent, unsigned long done,
                   unsigned long total);
  void (*destroy)(xentoollog_logger*);
};

// Finds symbols in one library and remembers the first that is missing.
class Symbols {
 public:
  explicit Symbols(void* library) : library_(library) {}

  template <typename Function>
  void Required(Function*& function, const char* name) {
    Optional(function, name);
    if (function == nullptr && missing_ == nullptr) missing_ = name;
  }

  template <typename Function>
  void Optional(Function*& function, const char* name) {
    function = reinterpret_cast<Function*>(dlsym(library_, name));
  }

  const char* missing() const { return missing_; }

 private:
  void* library_;
  const char* missing_ = nullptr;
};

const char* ResolveGnttab(XenLib* lib, void* library) {
  Symbols symbols(library);
  symbols.Required(lib->gnttab_open, "xengnttab_open");
  symbols.Required(lib->gnttab_close, "xengnttab_close");
  symbols.Required(lib->gnttab_map_domain_grant_refs, "xengnttab_map_domain_grant_refs");
  symbols.Required(lib->gnttab_unmap, "xengnttab_unmap");
  symbols.Optional(lib->gnttab_grant_copy, "xengnttab_grant_copy");
  symbols.Required(lib->gntshr_open, "xengntshr_open");
  symbols.Required(lib->gntshr_close, "xengntshr_close");
  symbols.Optional(lib->sim_allocate, "xensim_allocate");
  symbols.Optional(lib->sim_release, "xensim_release");
  symbols.Optional(lib->sim_grant, "xensim_grant");
  symbols.Optional(lib->sim_end, "xensim_end");
  return symbols.missing();
}

const char* ResolveEvtchn(XenLib* lib, void* library) {
  Symbols symbols(library);
  symbols.Required(lib->evtchn_open, "xenevtchn_open");
  symbols.Required(lib->evtchn_close, "xenevtchn_close");
  symbols.Required(lib->evtchn_fd, "xenevtchn_fd");
  symbols.Required(lib->evtchn_notify, "xenevtchn_notify");
  symbols.Required(lib->evtchn_bind_unbound_port, "xenevtchn_bind_unbound_port");
  symbols.Required(lib->evtchn_bind_interdomain, "xenevtchn_bind_interdomain");
  symbols.Required(lib->evtchn_unbind, "xenevtchn_unbind");
  symbols.Required(lib->evtchn_pending, "xenevtchn_pending");
  symbols.Required(lib->evtchn_unmask, "xenevtchn_unmask");
  symbols.Optional(lib->evtchn_restrict, "xenevtchn_restrict");
  symbols.Optional(lib->evtchn_fdopen, "xenevtchn_fdopen");
  return symbols.missing();
}

// Returns the file of the library that has the function.
template <typename Function>
std::string DirectoryOf(Function* function) {
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(function), &info) == 0) return "";
  const std::string path = info.dli_fname;
  return path.substr(0, path.rfind('/'));
}

}  // namespace

xentoollog_logger* SilentLogger() {
  // Nothing writes to it; the libraries declare it non-const.
  static const Logger logger = {
      [](xentoollog_logger*, int, int, const char*, const char*, va_list) {},
      [](xentoollog_logger*, const char*, const char*, int, unsigned long, unsigned long) {},
      [](xentoollog_logger*) {},
  };
  return reinterpret_cast<xentoollog_logger*>(const_cast<Logger*>(&logger));
}

std::shared_ptr<XenLib> XenLib::Load(const std::string& directory, std::string* library, std::string* reason) {
  const std::string prefix = directory.empty() ? "" : directory + "/";
  auto lib = std::make_shared<XenLib>(XenLib{});
  const struct {
    const char* name;
    const char* (*resolve)(XenLib*, void*);
  } parts[] = {{"libxengnttab.so.1", ResolveGnttab}, {"libxenevtchn.so.1", ResolveEvtchn}};
  for (const auto& part : parts) {
    *library = part.name;
    // Never closed: a library that has been used may have threads and thread-local data of its own.
    void* handle = dlopen((prefix + part.name).c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
      *reason = dlerror();
      return nullptr;
    }
    if (const char* missing = part.resolve(lib.get(), handle)) {
      *reason = std::string("it has no ") + missing;
      return nullptr;
    }
  }
  return lib;
}

Napi::Value LoadXen(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string directory = info[0].IsString() ? info[0].As<Napi::String>().Utf8Value() : "";
  std::string library;
  std::string reason;
  const std::shared_ptr<XenLib> lib = XenLib::Load(directory, &library, &reason);
  Napi::Object out = Napi::Object::New(env);
  if (lib == nullptr) {
    out["library"] = library;
    out["reason"] = reason;
    return out;
  }
  out["grantCopy"] = lib->gnttab_grant_copy != nullptr;
  out["canAdoptEvents"] = lib->evtchn_fdopen != nullptr;
  out["openGrants"] =
      Napi::Function::New(env, [lib](const Napi::CallbackInfo& call) { return OpenGrants(call.Env(), lib); });
  out["openEvents"] = Napi::Function::New(env, [lib](const Napi::CallbackInfo& call) { return OpenEvents(call, lib); });
  const auto domains = std::make_shared<Domains>(directory.empty() ? DirectoryOf(lib->gnttab_open) : directory);
  out["domainExists"] = Napi::Function::New(env, [domains](const Napi::CallbackInfo& call) {
    return Napi::Number::New(call.Env(), domains->Exists(call[0].As<Napi::Number>().Uint32Value()));
  });
  if (lib->CanShare()) {
    out["openShares"] =
        Napi::Function::New(env, [lib](const Napi::CallbackInfo& call) { return OpenShares(call.Env(), lib); });
  }
  return out;
}

}  // namespace vifd
