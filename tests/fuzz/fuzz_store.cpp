// Any bytes: refused with a FormatError, or a store whose every cell can be read.

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "io/volume_store.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sslmed;
  try {
    const auto store = io::VolumeStore::from_bytes("fuzz", {data, data + size});
    const auto& shape = store->shape();
    io::Extent3 part;
    for (std::size_t a = 0; a < 3; ++a) part[a] = std::min<std::int64_t>(shape[a], 40) + 3;
    std::vector<float> values(static_cast<std::size_t>(part[0] * part[1] * part[2]));
    std::vector<std::int32_t> codes(values.size());
    for (const auto& channel : store->channels()) {
      store->read(channel, {-2, -1, 0}, part, values.data());
      store->read(channel, {shape[0] - part[0] + 1, shape[1] - part[1], shape[2] - part[2] + 2}, part, codes.data());
    }
    if (shape[0] * shape[1] * shape[2] < (1 << 20)) store->verify();
  } catch (const FormatError&) {
  }
  return 0;
}
