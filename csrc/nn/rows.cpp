#include "nn/rows.h"

#include <c10/util/Exception.h>

#include <numeric>
#include <utility>

namespace sslmed::nn {

Layout layout_of(const Lengths& lengths) {
  Layout layout;
  std::int64_t row = 0;
  for (const auto length : lengths) {
    if (!layout.empty() && layout.back().length == length) {
      ++layout.back().count;
    } else {
      layout.push_back({row, 1, length});
    }
    row += length;
  }
  return layout;
}

Rows::Rows(Lengths lengths, std::vector<std::int64_t> samples)
    : lengths_(std::move(lengths)),
      layout_(layout_of(lengths_)),
      samples_(std::move(samples)),
      total_(std::accumulate(lengths_.begin(), lengths_.end(), std::int64_t{0})) {
  if (samples_.empty()) {
    samples_.resize(lengths_.size());
    std::iota(samples_.begin(), samples_.end(), 0);
  }
  TORCH_CHECK_VALUE(samples_.size() == lengths_.size(), "rows: ", lengths_.size(), " sequences of ", samples_.size(), " samples");
}

Rows Rows::single(std::int64_t count, std::vector<std::int64_t> samples) { return Rows(Lengths(static_cast<std::size_t>(count), 1), std::move(samples)); }

Rows Rows::longer(std::int64_t count) const {
  auto lengths = lengths_;
  for (auto& length : lengths) length += count;
  return Rows(std::move(lengths), samples_);
}

}  // namespace sslmed::nn
