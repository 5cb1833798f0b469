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
  kSubject,     // every subject equally often: rounds over subjects, a random sample of each
};

struct Pick {
  std::int64_t sample;
  std::uint64_t draw;  // names the sample's random draws within the epoch
};

class Sampler {
 public:
  // `subjects` is used by kSubject. Incomplete last batches are dropped if asked.
  Sampler(std::int64_t size, Order order, std::int64_t batch_size, bool drop_last, std::uint64_t seed, const SubjectRuns& subjects = {});

  std::int64_t batches_per_epoch() const noexcept { return batches_; }
  std::int64_t batch_size() const noexcept { return batch_size_; }
  std::uint64_t seed() const noexcept { return seed_; }
  // Batch `number` counts through the epochs.
  std::vector<Pick> batch(std::uint64_t number) const;

 private:
  std::int64_t by_subject(std::uint64_t epoch, std::int64_t position) const;

  std::int64_t size_, batch_size_, batches_;
  Order order_;
  std::uint64_t seed_;
  // The runs of subject s are [subject_first_[s], subject_first_[s + 1]) here: where each starts, and what the subject has before it.
  struct Run {
    std::int64_t first, before;
  };
  std::vector<Run> runs_;
  std::vector<std::int64_t> subject_first_, subject_samples_;
};

}  // namespace sslmed::data
