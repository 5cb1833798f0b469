#include "data/sampler.h"

#include <algorithm>
#include <limits>
#include <map>
#include <string>

#include "core/error.h"
#include "core/random.h"

namespace sslmed::data {

GroupRuns group_runs(const std::vector<std::int64_t>& first_samples, const std::vector<std::int32_t>& codes) {
  if (first_samples.size() != codes.size() + 1)
    throw ValueError(std::to_string(codes.size()) + " groups for " + std::to_string(first_samples.size() - 1) + " recordings");
  GroupRuns runs;
  std::map<std::int32_t, std::int32_t> known;
  for (std::size_t r = 0; r < codes.size(); ++r) {
    if (codes[r] < 0) throw ValueError("recording " + std::to_string(r) + " has no group");
    if (first_samples[r + 1] == first_samples[r]) continue;
    const auto code = known.try_emplace(codes[r], static_cast<std::int32_t>(known.size())).first->second;
    if (!runs.group.empty() && runs.group.back() == code) continue;
    runs.first.push_back(first_samples[r]);
    runs.group.push_back(code);
  }
  runs.first.push_back(first_samples.back());
  runs.n_groups = static_cast<std::int32_t>(known.size());
  return runs;
}

Sampler::Sampler(std::int64_t size, Order order, std::int64_t batch_size, bool drop_last, std::uint64_t seed, const GroupRuns& groups)
    : size_(size), batch_size_(batch_size), order_(order), seed_(seed) {
  if (size < 1) throw ValueError("a sampler needs samples, got " + std::to_string(size));
  if (batch_size < 1) throw ValueError("batch_size=" + std::to_string(batch_size) + " must be positive");
  batches_ = drop_last ? size / batch_size : (size + batch_size - 1) / batch_size;
  if (batches_ == 0) throw ValueError("batch_size=" + std::to_string(batch_size) + " is larger than the " + std::to_string(size) + " samples");
  if (order != Order::kGroup) return;
  if (groups.first.size() != groups.group.size() + 1 || groups.first.back() != size) throw ValueError("an order by groups needs one for every sample");
  const auto n = static_cast<std::size_t>(groups.n_groups);
  group_first_.assign(n + 1, 0);
  group_samples_.assign(n, 0);
  for (const auto s : groups.group) ++group_first_[static_cast<std::size_t>(s) + 1];
  for (std::size_t s = 0; s < n; ++s) group_first_[s + 1] += group_first_[s];
  runs_.resize(groups.group.size());
  auto next = group_first_;
  for (std::size_t r = 0; r < groups.group.size(); ++r) {
    const auto s = static_cast<std::size_t>(groups.group[r]);
    runs_[static_cast<std::size_t>(next[s]++)] = {groups.first[r], group_samples_[s]};
    group_samples_[s] += groups.first[r + 1] - groups.first[r];
  }
  for (const auto samples : group_samples_)
    if (samples < 1 || samples > std::numeric_limits<std::uint32_t>::max()) throw ValueError("a group has " + std::to_string(samples) + " samples");
}

std::int64_t Sampler::by_group(std::uint64_t epoch, std::int64_t position) const {
  const auto n = static_cast<std::int64_t>(group_samples_.size());
  const Shuffle order(static_cast<std::uint64_t>(n), {seed_, epoch, static_cast<std::uint64_t>(position / n)}, Stream::kOrder);
  const auto s = static_cast<std::size_t>(order(static_cast<std::uint64_t>(position % n)));
  Philox random({seed_, epoch, static_cast<std::uint64_t>(position)}, Stream::kAugment);
  const auto k = static_cast<std::int64_t>(random.below(static_cast<std::uint32_t>(group_samples_[s])));
  const auto begin = runs_.begin() + group_first_[s], end = runs_.begin() + group_first_[s + 1];
  const auto run = std::upper_bound(begin, end, k, [](std::int64_t value, const Run& r) { return value < r.before; }) - 1;
  return run->first + k - run->before;
}

std::vector<Pick> Sampler::batch(std::uint64_t number) const {
  const std::uint64_t epoch = number / static_cast<std::uint64_t>(batches_);
  const std::int64_t first = static_cast<std::int64_t>(number % static_cast<std::uint64_t>(batches_)) * batch_size_;
  const Shuffle order(static_cast<std::uint64_t>(size_), {seed_, epoch, 0}, Stream::kOrder);
  std::vector<Pick> picks;
  for (std::int64_t position = first; position < std::min(size_, first + batch_size_); ++position) {
    std::int64_t sample = position;
    if (order_ == Order::kShuffle) sample = static_cast<std::int64_t>(order(static_cast<std::uint64_t>(position)));
    if (order_ == Order::kGroup) sample = by_group(epoch, position);
    // In an order by groups a sample may come twice in an epoch, and should not get the same mask twice.
    picks.push_back({sample, static_cast<std::uint64_t>(order_ == Order::kGroup ? position : sample)});
  }
  return picks;
}

}  // namespace sslmed::data
