#pragma once
// Which samples make up which batch: a pure function of (seed, batch number), so that a loader's whole state is one integer.

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

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
  // groups [size]: subject number of each sample (used by kSubject). Incomplete last batches are dropped if asked.
  Sampler(std::int64_t size, Order order, std::int64_t batch_size, bool drop_last, std::uint64_t seed, const std::vector<std::string>& subjects = {});

  std::int64_t batches_per_epoch() const noexcept { return batches_; }
  std::int64_t batch_size() const noexcept { return batch_size_; }
  std::uint64_t seed() const noexcept { return seed_; }
  // Batch `number` counts through the epochs.
  std::vector<Pick> batch(std::uint64_t number) const;

 private:
  std::int64_t shuffled(std::uint64_t epoch, std::int64_t position) const;
  std::int64_t by_subject(std::uint64_t epoch, std::int64_t position) const;

  std::int64_t size_, batch_size_, batches_;
  Order order_;
  std::uint64_t seed_;
  std::vector<std::vector<std::int64_t>> members_;  // samples of each subject
  // The permutation of an epoch, kept for the few that loader threads straddle.
  struct Epoch {
    std::uint64_t number;
    std::shared_ptr<const std::vector<std::uint32_t>> order;
  };
  mutable std::mutex mutex_;
  mutable std::vector<Epoch> epochs_;
};

}  // namespace sslmed::data
