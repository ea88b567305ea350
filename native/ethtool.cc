#include "ethtool.h"

#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>

#include <cstring>
#include <vector>

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
constexpr uint32_t kAll = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;

// `command` begins with its number, and is answered in place.
bool Ask(const std::string& name, void* command) {
  ifreq request = InterfaceRequest(name);
  request.ifr_data = static_cast<char*>(command);
  return AskInterface(SIOCETHTOOL, &request) == 0;
}

// A struct of the interface with what follows it, in words so that it is aligned.
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
  return Ask(name, command.data()) && command->sset_mask != 0 ? command->data[0] : 0;
}

}  // namespace

uint32_t QueuesOf(const std::string& name) {
  ethtool_channels channels{};
  channels.cmd = ETHTOOL_GCHANNELS;
  return Ask(name, &channels) ? channels.combined_count : 0;
}

uint32_t WantedOffloads(const std::string& name) {
  const uint32_t count = FeatureCount(name);
  const uint32_t blocks = (count + 31) / 32;
  Command<ethtool_gstrings> names(ETHTOOL_GSTRINGS, size_t{count} * ETH_GSTRING_LEN);
  names->string_set = ETH_SS_FEATURES;
  names->len = count;
  Command<ethtool_gfeatures> features(ETHTOOL_GFEATURES, blocks * sizeof(ethtool_get_features_block));
  features->size = blocks;
  if (count == 0 || !Ask(name, names.data()) || !Ask(name, features.data())) return kAll;

  uint32_t off = 0;
  for (uint32_t i = 0; i < count; i++) {
    const auto* feature = reinterpret_cast<const char*>(names->data + size_t{i} * ETH_GSTRING_LEN);
    const bool wanted = (features->features[i / 32].requested >> (i % 32) & 1) != 0;
    for (const auto& [known, offload] : kOffloads) {
      if (!wanted && strncmp(feature, known, ETH_GSTRING_LEN) == 0) off |= offload;
    }
  }
  // Tun cuts nothing whose checksum it may not leave open, and refuses to be asked for that.
  if ((off & TUN_F_CSUM) != 0) off = kAll;
  return kAll & ~off;
}

}  // namespace vifd
