#include "tap_io.h"

#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "checksum.h"
#include "frames.h"
#include "grant_batch.h"
#include "loop_call.h"
#include "method.h"
#include "uring.h"
#include "uvpoll.h"

namespace vifd {

using namespace layout;

namespace {

// A guest's frame has at most 19 slots of data (lib/protocol/netif.ts, FRAME_SLOTS_SENT_MAX); another user of the addon may give more.
constexpr uint32_t PIECES_MAX = 64;

// VIFD_IO_URING=0 switches io_uring off, for kernels on which it is not trusted and for comparisons.
std::unique_ptr<Uring> OpenUring() {
  const char* wish = getenv("VIFD_IO_URING");
  return wish != nullptr && strcmp(wish, "0") == 0 ? nullptr : Uring::Open();
}

// Returns the errno to report of two frames. An errno for a full host's side or a malformed frame must not hide that the device is gone.
uint32_t Worse(uint32_t one, uint32_t other) {
  const auto rank = [](uint32_t error) { return error == 0 ? 0 : error == EAGAIN ? 1 : error == EINVAL ? 2 : 3; };
  return rank(other) > rank(one) ? other : one;
}

// Whether a frame that was read is a GSO frame: tun writes gso_size from the skb, whatever offloads the reader has.
bool IsGso(const uint8_t* frame) {
  // struct virtio_net_hdr_v1, gso_size.
  uint16_t gso_bytes;
  memcpy(&gso_bytes, frame - VNET_HEADER_BYTES + 4, sizeof gso_bytes);
  return gso_bytes != 0;
}

class TapIo : public std::enable_shared_from_this<TapIo> {
 public:
  TapIo(const Napi::Object& options, std::shared_ptr<TapDevice> tap)
      : tap_(std::move(tap)),
        writes_(options.Get("writes").As<Napi::Uint32Array>(), options.Get("writesArena").As<Napi::Uint8Array>()),
        reads_(options.Get("reads").As<Napi::Uint32Array>(), options.Get("readsArena").As<Napi::Uint8Array>()),
        mapped_(BatchOf(options.Get("mapped"))),
        completes_({options.Get("completeV4").ToBoolean(), options.Get("completeV6").ToBoolean()}),
        context_(options.Env(), "vifd:tap"),
        on_readable_(Napi::Persistent(options.Get("onReadable").As<Napi::Function>())) {}

  int Start(Napi::Env env) {
    poll_ = UvPoll::Open(env, tap_->fd, [self = shared_from_this()](int status) { self->Readable(status); });
    return poll_ == nullptr ? -errno : 0;
  }

  uint32_t Write() {
    if (!open()) return 0;
    writes_.Check();
    if (mapped_ != nullptr && mapped_->mapped()) mapped_->CheckOps();
    const uint32_t count = std::min(writes_.header(FRAMES_COUNT), writes_.capacity());
    // A batch of one frame is one system call without io_uring too.
    return ring_ != nullptr && count > 1 ? WriteTogether(count) : WriteEach(count);
  }

  uint32_t Read() {
    if (!open()) return 0;
    reads_.Check();
    const uint64_t align = reads_.header(FRAMES_ALIGN);
    const uint64_t end = std::min<uint64_t>(reads_.header(FRAMES_END), reads_.arena_size());
    uint64_t cursor = reads_.header(FRAMES_START);
    uint32_t count = 0;
    uint32_t error = 0;
    bool more = true;
    uint64_t charged = 0;
    if (align == 0 || (align & (align - 1)) != 0) error = EINVAL;
    while (error == 0 && count < reads_.capacity()) {
      const uint64_t offset = Place(cursor, align);
      // Stops unless there is room for the longest frame, because tun drops the bytes that exceed a shorter buffer.
      if (offset + FRAME_BYTES_MAX > end) break;
      const ssize_t length = Receive(offset);
      if (length < 0 && errno == EINTR) continue;
      if (length < 0) {
        if (errno != EAGAIN) error = static_cast<uint32_t>(errno);
        more = false;
        break;
      }
      uint32_t* frame = reads_.frame(count++);
      frame[FRAME_OFFSET] = static_cast<uint32_t>(offset);
      frame[FRAME_LENGTH] = static_cast<uint32_t>(length);
      frame[FRAME_FIRST_OP] = frame[FRAME_OP_COUNT] = frame[FRAME_STATUS] = 0;
      charged += TapLimit::Charge(static_cast<uint64_t>(length), IsGso(reads_.arena() + offset));
      cursor = offset + static_cast<uint64_t>(length);
    }
    if (tap_->limit != nullptr) {
      tap_->limit->Took(charged);
      if (!more) tap_->limit->Settle();
    }
    reads_.header(FRAMES_COUNT) = count;
    reads_.header(FRAMES_MORE) = more && error == 0 ? 1 : 0;
    reads_.header(FRAMES_ERRNO) = error;
    // The error that the poll reported is over.
    if (error == 0) failed_ = false;
    return count;
  }

  void WantReadable() {
    wanted_ = true;
    if (poll_ != nullptr && !failed_) poll_->Start();
  }

  void Close() {
    if (poll_ != nullptr) poll_->Close();
    poll_ = nullptr;
    ring_.reset();
    // JavaScript may store its functions for long: they must prevent the collection neither of the queue, to which `on_readable_` refers, nor
    // of memory.
    on_readable_.Reset();
    writes_.Reset();
    reads_.Reset();
    mapped_.reset();
    pieces_ = {};
  }

 private:
  bool open() const { return poll_ != nullptr && tap_->fd >= 0; }

  // Returns the first place at or behind `cursor` with room for the vnet header in front.
  uint64_t Place(uint64_t cursor, uint64_t align) {
    const uint64_t phase = reads_.header(FRAMES_PHASE) & (align - 1);
    const uint64_t least = cursor + VNET_HEADER_BYTES;
    return ((least - phase + align - 1) & ~(align - 1)) + phase;
  }

  // Returns the frame's length without its vnet header, or -1 with errno.
  ssize_t Receive(uint64_t offset) {
    uint8_t* frame = reads_.arena() + offset;
    const ssize_t length = read(tap_->fd, frame - VNET_HEADER_BYTES, VNET_HEADER_BYTES + FRAME_BYTES_MAX);
    if (length < 0) return -1;
    if (length < ssize_t{VNET_HEADER_BYTES}) {
      errno = EIO;
      return -1;
    }
    const size_t bytes = static_cast<size_t>(length) - VNET_HEADER_BYTES;
    if (completes_.v4 || completes_.v6) CompleteIfNeeded(frame, bytes, completes_);
    return static_cast<ssize_t>(bytes);
  }

  uint32_t WriteEach(uint32_t count) {
    uint32_t done = 0;
    uint32_t last_error = 0;
    for (; done < count; done++) {
      uint32_t* frame = writes_.frame(done);
      const int error = frame[FRAME_LENGTH] == 0 ? 0 : Send(frame);
      if (error == EAGAIN) break;
      frame[FRAME_STATUS] = static_cast<uint32_t>(error);
      last_error = Worse(last_error, static_cast<uint32_t>(error));
    }
    writes_.header(FRAMES_ERRNO) = last_error;
    return done;
  }

  // When a frame finds the host's side full, later ones were submitted already: the error does not end the batch, but is that frame's status.
  uint32_t WriteTogether(uint32_t count) {
    // The most that are needed, if every frame has the most pieces. Only the first ones are used.
    pieces_.resize(size_t{count} * PIECES_MAX);
    iovec* pieces = pieces_.data();
    for (uint32_t i = 0; i < count; i++) {
      uint32_t* frame = writes_.frame(i);
      auto* status = reinterpret_cast<int32_t*>(&frame[FRAME_STATUS]);
      *status = 0;
      if (frame[FRAME_LENGTH] == 0) continue;
      const int gathered = Pieces(frame, pieces);
      // The status that remains if the ring fails before it reaches this frame.
      *status = gathered < 0 ? gathered : -EIO;
      if (gathered < 0 || ring_ == nullptr) continue;
      ring_->Write(tap_->fd, pieces, gathered, status);
      pieces += gathered;
      if (ring_->full() && !ring_->Submit()) ring_.reset();
    }
    if (ring_ != nullptr && ring_->queued() > 0 && !ring_->Submit()) ring_.reset();
    uint32_t last_error = 0;
    for (uint32_t i = 0; i < count; i++) {
      uint32_t& status = writes_.frame(i)[FRAME_STATUS];
      const auto result = static_cast<int32_t>(status);
      status = result < 0 ? static_cast<uint32_t>(-result) : 0;
      last_error = Worse(last_error, status);
    }
    writes_.header(FRAMES_ERRNO) = last_error;
    return count;
  }

  // Finds the frame's bytes. Returns how many pieces, or -errno.
  int Pieces(const uint32_t* frame, iovec* pieces) {
    if (frame[FRAME_OP_COUNT] != 0) return Gather(frame, pieces);
    return writes_.Span(frame, frame[FRAME_LENGTH], pieces) ? 1 : -EINVAL;
  }

  // Returns 0 or an errno.
  int Send(const uint32_t* frame) {
    iovec pieces[PIECES_MAX];
    const int count = Pieces(frame, pieces);
    if (count < 0) return -count;
    for (;;) {
      const ssize_t sent = count == 1 ? write(tap_->fd, pieces[0].iov_base, pieces[0].iov_len)
                                      : writev(tap_->fd, pieces, count);
      if (sent >= 0) return 0;
      if (errno != EINTR) return errno;
    }
  }

  // Lists the pieces of a frame of which only the first OP_HEAD bytes of each operation are in the arena. Those bytes were checked; the
  // guest can still change its pages. The bytes in the arena are one piece, so an operation has none there if an earlier one has fewer
  // than its span. Returns how many pieces, or -errno.
  int Gather(const uint32_t* frame, iovec* pieces) {
    const uint32_t operations = frame[FRAME_OP_COUNT];
    if (mapped_ == nullptr || operations >= PIECES_MAX) return -EINVAL;
    uint64_t length = 0;
    uint32_t copied = 0;
    bool all_copied = true;
    int count = 1;
    for (uint32_t i = 0; i < operations; i++) {
      iovec span;
      uint32_t head;
      if (!mapped_->MappedSpan(frame[FRAME_FIRST_OP] + i, &span, &head)) return -EFAULT;
      length += span.iov_len;
      if (head > span.iov_len || (head > 0 && !all_copied)) return -EINVAL;
      copied += head;
      all_copied = all_copied && head == span.iov_len;
      if (head < span.iov_len) pieces[count++] = {static_cast<uint8_t*>(span.iov_base) + head, span.iov_len - head};
    }
    if (!writes_.Span(frame, copied, pieces)) return -EINVAL;
    return length == frame[FRAME_LENGTH] ? count : -EINVAL;
  }

  // Calls the handler once for each wantReadable(). A handler that asks again at once, the usual case, costs no epoll_ctl. After the device
  // was deleted the handler is called once more, so that its read() reports that; polling again would spin.
  void Readable(int status) {
    failed_ = failed_ || status < 0;
    wanted_ = false;
    CallFromLoop(on_readable_, context_);
    // The handler may have closed the tap.
    if (!wanted_ && poll_ != nullptr) poll_->Stop();
  }

  std::shared_ptr<TapDevice> tap_;
  Frames writes_;
  Frames reads_;
  std::shared_ptr<GrantBatch> mapped_;
  Completes completes_;
  std::unique_ptr<Uring> ring_ = OpenUring();
  // The pieces of all frames of a batch that is written in one call.
  std::vector<iovec> pieces_;
  UvPoll* poll_ = nullptr;
  bool wanted_ = false;
  bool failed_ = false;
  Napi::AsyncContext context_;
  Napi::FunctionReference on_readable_;
};

}  // namespace

Napi::Value StartTap(const Napi::CallbackInfo& info, const std::shared_ptr<TapDevice>& tap) {
  const Napi::Env env = info.Env();
  const auto options = info[0].As<Napi::Object>();
  if (tap->fd < 0) return Napi::Number::New(env, -EBADF);
  const uint32_t takes = options.Get("offloads").As<Napi::Number>().Uint32Value();
  if (const int error = tap->SetOffloads(takes, options.Get("resumed").ToBoolean()); error < 0)
    return Napi::Number::New(env, error);
  const auto io = std::make_shared<TapIo>(options, tap);
  if (const int error = io->Start(env); error < 0) return Napi::Number::New(env, error);

  Napi::Object out = Napi::Object::New(env);
  out["write"] = DirectMethod<&TapIo::Write>(env, "write", io);
  out["read"] = DirectMethod<&TapIo::Read>(env, "read", io);
  out["wantReadable"] = DirectMethod<&TapIo::WantReadable>(env, "wantReadable", io);
  out["close"] = DirectMethod<&TapIo::Close>(env, "close", io);
  return out;
}

}  // namespace vifd
