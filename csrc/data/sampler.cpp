#include "data/sampler.h"

#include <algorithm>
#include <limits>
#include <string>

#include "core/error.h"
#include "core/random.h"

namespace sslmed::data {

Sampler::Sampler(std::int64_t size, Order order, std::int64_t batch_size, bool drop_last, std::uint64_t seed, const SubjectRuns& subjects)
    : size_(size), batch_size_(batch_size), order_(order), seed_(seed) {
  if (size < 1) throw ValueError("a sampler needs samples, got " + std::to_string(size));
  if (batch_size < 1) throw ValueError("batch_size must be positive, got " + std::to_string(batch_size));
  batches_ = drop_last ? size / batch_size : (size + batch_size - 1) / batch_size;
  if (batches_ == 0) throw ValueError("batch_size " + std::to_string(batch_size) + " is larger than the " + std::to_string(size) + " samples");
  if (order != Order::kSubject) return;
  if (subjects.first.size() != subjects.subject.size() + 1 || subjects.first.back() != size) throw ValueError("subject order needs a subject for every sample");
  const auto n = static_cast<std::size_t>(subjects.n_subjects);
  subject_first_.assign(n + 1, 0);
  subject_samples_.assign(n, 0);
  for (const auto s : subjects.subject) ++subject_first_[static_cast<std::size_t>(s) + 1];
  for (std::size_t s = 0; s < n; ++s) subject_first_[s + 1] += subject_first_[s];
  runs_.resize(subjects.subject.size());
  auto next = subject_first_;
  for (std::size_t r = 0; r < subjects.subject.size(); ++r) {
    const auto s = static_cast<std::size_t>(subjects.subject[r]);
    runs_[static_cast<std::size_t>(next[s]++)] = {subjects.first[r], subject_samples_[s]};
    subject_samples_[s] += subjects.first[r + 1] - subjects.first[r];
  }
  for (const auto samples : subject_samples_)
    if (samples < 1 || samples > std::numeric_limits<std::uint32_t>::max()) throw ValueError("a subject has " + std::to_string(samples) + " samples");
}

std::int64_t Sampler::by_subject(std::uint64_t epoch, std::int64_t position) const {
  const auto n = static_cast<std::int64_t>(subject_samples_.size());
  const Shuffle order(static_cast<std::uint64_t>(n), {seed_, epoch, static_cast<std::uint64_t>(position / n)}, Stream::kOrder);
  const auto s = static_cast<std::size_t>(order(static_cast<std::uint64_t>(position % n)));
  Philox random({seed_, epoch, static_cast<std::uint64_t>(position)}, Stream::kAugment);
  const auto k = static_cast<std::int64_t>(random.below(static_cast<std::uint32_t>(subject_samples_[s])));
  const auto begin = runs_.begin() + subject_first_[s], end = runs_.begin() + subject_first_[s + 1];
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
    if (order_ == Order::kSubject) sample = by_subject(epoch, position);
    // In subject order a sample may come twice in an epoch, and should not get the same mask twice.
    picks.push_back({sample, static_cast<std::uint64_t>(order_ == Order::kSubject ? position : sample)});
  }
  return picks;
}

}  // namespace sslmed::data
