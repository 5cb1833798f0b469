#pragma once
// Which patch embedding tokens need: batches group views by it, and an encoder may hold several.

#include <cstdint>
#include <string>
#include <vector>

namespace sslmed {

struct EmbeddingKey {
  std::string modality;             // a name of the registry of modalities
  std::vector<std::int64_t> patch;  // cells of the array along each axis of the grid
  std::int64_t channels = 1;

  auto operator<=>(const EmbeddingKey&) const = default;

  // Numbers in a patch, channels included.
  std::int64_t values() const {
    std::int64_t n = channels;
    for (const auto p : patch) n *= p;
    return n;
  }
  // "slides, patches of 16 x 16 with 3 channels"
  std::string text() const {
    std::string out = modality + ", patches of ";
    for (std::size_t i = 0; i < patch.size(); ++i) out += (i > 0 ? " x " : "") + std::to_string(patch[i]);
    return out + " with " + std::to_string(channels) + (channels == 1 ? " channel" : " channels");
  }
};

}  // namespace sslmed
