#include "data/sampler.h"

#include <algorithm>
#include <limits>
#include <map>

#include "core/error.h"
#include "core/random.h"

namespace sslmed::data {

Sampler::Sampler(std::int64_t size, Order order, std::int64_t batch_size, bool drop_last, std::uint64_t seed, const std::vector<std::string>& subjects)
    : size_(size), batch_size_(batch_size), order_(order), seed_(seed) {
  if (size < 1 || size > std::numeric_limits<std::uint32_t>::max()) throw ValueError("a sampler needs 1 to 2^32 samples, got " + std::to_string(size));
  if (batch_size < 1) throw ValueError("batch_size must be positive, got " + std::to_string(batch_size));
  batches_ = drop_last ? size / batch_size : (size + batch_size - 1) / batch_size;
  if (batches_ == 0) throw ValueError("batch_size " + std::to_string(batch_size) + " is larger than the " + std::to_string(size) + " samples");
  if (order == Order::kSubject) {
    if (static_cast<std::int64_t>(subjects.size()) != size) throw ValueError("subject order needs one subject a sample");
    std::map<std::string, std::vector<std::int64_t>> members;
    for (std::int64_t i = 0; i < size; ++i) members[subjects[static_cast<std::size_t>(i)]].push_back(i);
    for (auto& [subject, samples] : members) members_.push_back(std::move(samples));
  }
}

std::int64_t Sampler::shuffled(std::uint64_t epoch, std::int64_t position) const {
  std::shared_ptr<const std::vector<std::uint32_t>> order;
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(epochs_.begin(), epochs_.end(), [&](const Epoch& e) { return e.number == epoch; });
    if (found != epochs_.end()) {
      order = found->order;
    } else {
      order = std::make_shared<const std::vector<std::uint32_t>>(permutation(static_cast<std::uint32_t>(size_), {seed_, epoch, 0}, Stream::kOrder));
      if (epochs_.size() >= 3) epochs_.erase(epochs_.begin());
      epochs_.push_back({epoch, order});
    }
  }
  return (*order)[static_cast<std::size_t>(position)];
}

std::int64_t Sampler::by_subject(std::uint64_t epoch, std::int64_t position) const {
  const auto n = static_cast<std::int64_t>(members_.size());
  const auto round = static_cast<std::uint64_t>(position / n);
  const auto order = permutation(static_cast<std::uint32_t>(n), {seed_, epoch, round}, Stream::kOrder);
  const auto& samples = members_[order[static_cast<std::size_t>(position % n)]];
  Philox random({seed_, epoch, static_cast<std::uint64_t>(position)}, Stream::kAugment);
  return samples[random.below(static_cast<std::uint32_t>(samples.size()))];
}

std::vector<Pick> Sampler::batch(std::uint64_t number) const {
  const std::uint64_t epoch = number / static_cast<std::uint64_t>(batches_);
  const std::int64_t first = static_cast<std::int64_t>(number % static_cast<std::uint64_t>(batches_)) * batch_size_;
  std::vector<Pick> picks;
  for (std::int64_t position = first; position < std::min(size_, first + batch_size_); ++position) {
    std::int64_t sample = position;
    if (order_ == Order::kShuffle) sample = shuffled(epoch, position);
    if (order_ == Order::kSubject) sample = by_subject(epoch, position);
    // In subject order a sample may come twice in an epoch, and should not get the same mask twice.
    picks.push_back({sample, static_cast<std::uint64_t>(order_ == Order::kSubject ? position : sample)});
  }
  return picks;
}

}  // namespace sslmed::data
