#include "modalities/picture/tissue_runs.h"

#include "core/error.h"

namespace sslmed::picture {
namespace {

void put(std::string& out, std::int64_t value) {
  for (; value >= 128; value >>= 7) out.push_back(static_cast<char>((value & 127) | 128));
  out.push_back(static_cast<char>(value));
}

}  // namespace

std::string tissue_runs(const std::uint8_t* mask, std::int64_t cells) {
  std::string out;
  std::int64_t at = 0, last = 0;  // of the stretch before
  while (at < cells) {
    while (at < cells && mask[at] == 0) ++at;
    if (at == cells) break;  // what comes after the last tissue is left out
    put(out, at - last);
    const auto first = at;
    while (at < cells && mask[at] != 0) ++at;
    put(out, at - first);
    last = at;
  }
  return out;
}

void read_tissue_runs(std::string_view bytes, std::int64_t cells, std::vector<TissueRun>& into) {
  into.clear();
  std::size_t at = 0;
  const auto next = [&] {
    std::int64_t value = 0;
    for (int shift = 0; shift < 63; shift += 7) {
      if (at == bytes.size()) throw ValueError("runs of tissue that are cut");
      const auto byte = static_cast<unsigned char>(bytes[at++]);
      value |= static_cast<std::int64_t>(byte & 127) << shift;
      if (byte < 128) return value;
    }
    throw ValueError("runs of tissue with a number that is too large");
  };
  std::int64_t cell = 0;
  while (at < bytes.size()) {
    const auto gap = next();
    const auto length = next();
    if (gap > cells - cell || length > cells - cell - gap) throw ValueError("runs of tissue that go past their grid");
    into.push_back({cell + gap, cell + gap + length});
    cell += gap + length;
  }
}

}  // namespace sslmed::picture
