#include "ethtool.h"

#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "interface.h"

namespace vifd {

namespace {

// A feature's number differs from kernel to kernel, its name does not (net/ethtool/common.c).
constexpr struct {
  const char* name;
  uint32_t offload;
} kOffloads[] = {
    {"tx-checksum-ip-generic", TUN_F_CSUM},
    {"tx-tcp-segmentation", TUN_F_TSO4},
    {"tx-tcp6-segmentation", TUN_F_TSO6},
};
constexpr char kScatterGather[] = "tx-scatter-gather";

// `command` begins with its number, and the kernel writes its response into it. Returns 0 or -errno.
int Ask(const std::string& name, void* command) {
  ifreq request = InterfaceRequest(name);
  request.ifr_data = static_cast<char*>(command);
  return AskInterface(SIOCETHTOOL, &request);
}

// A struct of the interface and the data behind it, as words so that it is aligned.
template <typename Head>
class Command {
 public:
  explicit Command(uint32_t number, size_t tail_bytes) : words_((sizeof(Head) + tail_bytes + 3) / 4) {
    words_[0] = number;
  }
  Head* operator->() { return reinterpret_cast<Head*>(words_.data()); }
  void* data() { return words_.data(); }

 private:
  std::vector<uint32_t> words_;
};

uint32_t FeatureCount(const std::string& name) {
  Command<ethtool_sset_info> command(ETHTOOL_GSSET_INFO, sizeof(uint32_t));
  command->sset_mask = uint64_t{1} << ETH_SS_FEATURES;
  return Ask(name, command.data()) == 0 && command->sset_mask != 0 ? command->data[0] : 0;
}

// The names of the features, in the order of their numbers; none where the kernel does not report them.
std::vector<std::string> FeatureNames(const std::string& name) {
  const uint32_t count = FeatureCount(name);
  Command<ethtool_gstrings> command(ETHTOOL_GSTRINGS, size_t{count} * ETH_GSTRING_LEN);
  command->string_set = ETH_SS_FEATURES;
  command->len = count;
  if (count == 0 || Ask(name, command.data()) != 0) return {};
  std::vector<std::string> names;
  for (uint32_t i = 0; i < count; i++) {
    const auto* text = reinterpret_cast<const char*>(command->data + size_t{i} * ETH_GSTRING_LEN);
    names.emplace_back(text, strnlen(text, ETH_GSTRING_LEN));
  }
  return names;
}

// The kernel's list of features. It is the same for all devices, so this process asks for it once.
const std::vector<std::string>& KnownFeatures(const std::string& name) {
  static std::vector<std::string> names;
  if (names.empty()) names = FeatureNames(name);
  return names;
}

uint32_t OffloadNamed(const std::string& feature) {
  for (const auto& [known, offload] : kOffloads) {
    if (feature == known) return offload;
  }
  return 0;
}

std::vector<ethtool_get_features_block> Features(const std::string& name) {
  const auto blocks = static_cast<uint32_t>((KnownFeatures(name).size() + 31) / 32);
  Command<ethtool_gfeatures> command(ETHTOOL_GFEATURES, blocks * sizeof(ethtool_get_features_block));
  command->size = blocks;
  if (blocks == 0 || Ask(name, command.data()) != 0) return {};
  return {command->features, command->features + std::min(blocks, command->size)};
}

int SetFeatures(const std::string& name, const std::vector<ethtool_set_features_block>& blocks) {
  Command<ethtool_sfeatures> command(ETHTOOL_SFEATURES, blocks.size() * sizeof(ethtool_set_features_block));
  command->size = static_cast<uint32_t>(blocks.size());
  std::copy(blocks.begin(), blocks.end(), command->features);
  return Ask(name, command.data());
}

}  // namespace

uint32_t QueuesOf(const std::string& name) {
  ethtool_channels channels{};
  channels.cmd = ETHTOOL_GCHANNELS;
  return Ask(name, &channels) == 0 ? channels.combined_count : 0;
}

void SettleCarrier(const std::string& name) {
  ethtool_value link{};
  link.cmd = ETHTOOL_GLINK;
  // The result does not matter: after an error the kernel switches the carrier by itself, later.
  Ask(name, &link);
}

std::optional<Offloads> OffloadsOf(const std::string& name) {
  const std::vector<ethtool_get_features_block> blocks = Features(name);
  const std::vector<std::string>& names = KnownFeatures(name);
  if (blocks.size() * 32 < names.size() || names.empty()) return std::nullopt;
  Offloads out{};
  for (size_t i = 0; i < names.size(); i++) {
    const auto has = [i](uint32_t word) { return (word >> (i % 32) & 1) != 0; };
    const uint32_t offload = OffloadNamed(names[i]);
    if (has(blocks[i / 32].requested)) out.wanted |= offload;
    if (has(blocks[i / 32].active)) out.active |= offload;
    if (names[i] == kScatterGather) out.scatter_gather = has(blocks[i / 32].active);
  }
  return out;
}

int WantOffloads(const std::string& name, uint32_t wanted) {
  const std::vector<std::string>& names = KnownFeatures(name);
  if (names.empty()) return -EOPNOTSUPP;
  std::vector<ethtool_set_features_block> blocks((names.size() + 31) / 32);
  for (size_t i = 0; i < names.size(); i++) {
    const uint32_t offload = OffloadNamed(names[i]);
    if (offload == 0) continue;
    blocks[i / 32].valid |= uint32_t{1} << (i % 32);
    if ((wanted & offload) != 0) blocks[i / 32].requested |= uint32_t{1} << (i % 32);
  }
  return SetFeatures(name, blocks);
}

std::vector<uint32_t> WantedFeatures(const std::string& name) {
  std::vector<uint32_t> out;
  for (const ethtool_get_features_block& block : Features(name)) out.push_back(block.requested);
  return out;
}

int WantFeatures(const std::string& name, const std::vector<uint32_t>& wanted) {
  const std::vector<ethtool_get_features_block> has = Features(name);
  if (has.size() != wanted.size() || has.empty()) return -EOPNOTSUPP;
  std::vector<ethtool_set_features_block> blocks(has.size());
  for (size_t i = 0; i < blocks.size(); i++) {
    blocks[i].valid = has[i].available & ~has[i].never_changed;
    blocks[i].requested = wanted[i] & blocks[i].valid;
  }
  return SetFeatures(name, blocks);
}

}  // namespace vifd
