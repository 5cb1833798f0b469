// A header, a marker file and samples, each after a NUL byte: refused with one of our two errors, or read without a fault, and
// then what is read agrees with itself.

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/error.h"
#include "io/brainvision.h"
#include "memory_file.h"

namespace {

using namespace sslmed;

constexpr std::int64_t kMost = 1024;  // samples read a channel

void read_all(const io::BrainVisionFile& file) {
  fuzz::require(file.n_samples() >= 0 && file.sfreq() > 0 && std::isfinite(file.sfreq()));
  std::vector<std::string> notes;
  for (const auto& annotation : file.annotations(notes)) fuzz::require(std::isfinite(annotation.onset) && annotation.onset >= 0);
  std::vector<std::size_t> rows(std::min<std::size_t>(file.n_channels(), 9));
  for (std::size_t c = 0; c < rows.size(); ++c) rows[c] = c;
  const std::int64_t n = std::min(file.n_samples(), kMost), start = file.n_samples() - n;
  std::vector<float> together(rows.size() * static_cast<std::size_t>(n)), alone(static_cast<std::size_t>(n));
  try {
    file.read_grid(rows, start, start + n, together.data());
    for (const auto c : rows) {
      file.read_grid({c}, start, start + n, alone.data());
      for (std::size_t t = 0; t < alone.size(); ++t) {
        const float other = together[c * alone.size() + t];
        fuzz::require(alone[t] == other || (std::isnan(alone[t]) && std::isnan(other)));
      }
    }
  } catch (const FormatError&) {  // a channel without a resolution
  }
  try {
    float one = 0;
    file.read_grid({0}, file.n_samples(), file.n_samples() + 1, &one);
    fuzz::require(false);
  } catch (const std::exception&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static fuzz::MemoryFile header, markers, samples;
  const std::uint8_t* end = data + size;
  const std::uint8_t* first = std::find(data, end, 0);
  const std::uint8_t* second = first == end ? end : std::find(first + 1, end, 0);
  header.set(data, static_cast<std::size_t>(first - data));
  markers.set(first == end ? end : first + 1, first == end ? 0 : static_cast<std::size_t>(second - first - 1));
  samples.set(second == end ? end : second + 1, second == end ? 0 : static_cast<std::size_t>(end - second - 1));
  try {
    const io::BrainVisionFile file(header.path(), samples.path(), markers.path());
    read_all(file);
    samples.shrink(size / 4);
    read_all(file);
  } catch (const FormatError&) {
  } catch (const ReadError&) {
  }
  return 0;
}
