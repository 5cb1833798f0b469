#pragma once
// Which samples make up which batch: a pure function of (seed, batch number), so that a loader's whole state is one integer.
// Costs the same for ten files and for ten million.

#include <cstdint>
#include <vector>

#include "data/sample.h"

namespace sslmed::data {

enum class Order {
  kSequential,  // 0, 1, 2 …
  kShuffle,     // every sample once an epoch
  kGroup,       // every group (subject, site …) equally often: rounds over groups, a random sample of each
};

struct Pick {
  std::int64_t sample;
  std::uint64_t draw;  // names the sample's random draws within the epoch
};

// The runs of a source whose recording r is of the group with code[r] (any numbers that are not negative); those without samples, and
// groups of them alone, are left out. ValueError for a negative code or another count.
GroupRuns group_runs(const std::vector<std::int64_t>& first_samples, const std::vector<std::int32_t>& codes);

class Sampler {
 public:
  // `groups` is used by kGroup. Incomplete last batches are dropped if asked.
  Sampler(std::int64_t size, Order order, std::int64_t batch_size, bool drop_last, std::uint64_t seed, const GroupRuns& groups = {});

  std::int64_t batches_per_epoch() const noexcept { return batches_; }
  std::int64_t batch_size() const noexcept { return batch_size_; }
  std::uint64_t seed() const noexcept { return seed_; }
  // Batch `number` counts through the epochs.
  std::vector<Pick> batch(std::uint64_t number) const;

 private:
  std::int64_t by_group(std::uint64_t epoch, std::int64_t position) const;

  std::int64_t size_, batch_size_, batches_;
  Order order_;
  std::uint64_t seed_;
  // The runs of group g are [group_first_[g], group_first_[g + 1]) here: where each starts, and what the group has before it.
  struct Run {
    std::int64_t first, before;
  };
  std::vector<Run> runs_;
  std::vector<std::int64_t> group_first_, group_samples_;
};

}  // namespace sslmed::data
