#pragma once
// Which rows of packed activations belong together, and to which sample: what attention groups by, and what per-sample gradients need at every layer.

#include <cstdint>
#include <vector>

namespace sslmed::nn {

using Lengths = std::vector<std::int64_t>;

// Consecutive sequences of one length among packed rows.
struct Run {
  std::int64_t first_row, count, length;
};
using Layout = std::vector<Run>;
// lengths [B] to runs; sorted lengths give the fewest.
Layout layout_of(const Lengths& lengths);

class Rows {
 public:
  // lengths [B]: rows of each sequence. samples [B]: the sample of each, any numbers that tell samples apart; empty: sequence b is of sample b.
  explicit Rows(Lengths lengths, std::vector<std::int64_t> samples = {});
  // One row a sequence: pooled features, the answers of a head.
  static Rows single(std::int64_t count, std::vector<std::int64_t> samples = {});

  const Lengths& lengths() const noexcept { return lengths_; }
  const Layout& layout() const noexcept { return layout_; }
  const std::vector<std::int64_t>& samples() const noexcept { return samples_; }
  std::int64_t sequences() const noexcept { return static_cast<std::int64_t>(lengths_.size()); }
  std::int64_t total() const noexcept { return total_; }
  // The same sequences, each with `count` rows more (a class token, registers), or one row each.
  Rows longer(std::int64_t count = 1) const;
  Rows single() const { return single(sequences(), samples_); }

 private:
  Lengths lengths_;
  Layout layout_;
  std::vector<std::int64_t> samples_;
  std::int64_t total_ = 0;
};

}  // namespace sslmed::nn
