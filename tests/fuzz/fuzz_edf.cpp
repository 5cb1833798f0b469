// Any bytes: refused with one of our two errors, or read without a fault, and then what is read agrees with itself.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "core/error.h"
#include "io/edf.h"
#include "memory_file.h"

namespace {

using namespace sslmed;

constexpr std::int64_t kMost = 4096;  // samples read a channel: throughput matters more than length

bool same(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0 || (std::isnan(a) && std::isnan(b)); }

void read_all(const io::EdfFile& file) {
  fuzz::require(!file.segments().empty() || file.header().n_records == 0);
  fuzz::require(static_cast<std::int64_t>(file.record_onsets().size()) == file.header().n_records);
  fuzz::require(!(file.duration() < 0));
  (void)file.start();
  std::vector<std::string> notes;
  for (const auto& annotation : file.annotations(notes)) fuzz::require(std::isfinite(annotation.onset));
  for (std::size_t i = 0; i < std::min<std::size_t>(file.n_channels(), 8); ++i) {
    const std::int64_t n = std::min(file.n_samples(i), kMost);
    std::vector<double> exact(static_cast<std::size_t>(n));
    std::vector<float> samples(exact.size()), grid(exact.size());
    try {
      file.read_channel(i, 0, n, exact.data());
      file.read_channel(i, 0, n, samples.data());
      // The tail, and one sample too many.
      file.read_channel(i, file.n_samples(i) - n, file.n_samples(i), exact.data());
      file.read_grid({i}, 0, std::min(n, file.grid_size(i)), grid.data());
      if (file.is_continuous())
        for (std::int64_t t = 0; t < n; ++t) fuzz::require(same(samples[static_cast<std::size_t>(t)], grid[static_cast<std::size_t>(t)]));
    } catch (const FormatError&) {  // a signal without a physical scale
    }
    try {
      double one = 0;
      file.read_channel(i, file.n_samples(i), file.n_samples(i) + 1, &one);
      fuzz::require(false);
    } catch (const std::exception&) {
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static fuzz::MemoryFile memory;
  memory.set(data, size);
  try {
    const io::EdfFile file(memory.path());
    read_all(file);
    // The file loses its second half while it is open.
    memory.shrink(size / 2);
    read_all(file);
  } catch (const FormatError&) {
  } catch (const ReadError&) {
  }
  return 0;
}
