#include "modalities/eeg/flat_gaps.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace sslmed::eeg {
namespace {

constexpr std::int64_t kFirstRead = 16, kLargestRead = 4096;  // samples a channel

bool equal_samples(float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }

// Looks for changes of signals. Reads grow while there are none.
class Changes {
 public:
  Changes(std::size_t channels, const SampleReader& read) : all_(channels), read_(read) { std::iota(all_.begin(), all_.end(), std::size_t{0}); }

  // Whether some channel changes from sample t to the next: most often the channel that did so before.
  bool at(std::int64_t t) {
    float two[2];
    read_({witness_}, t, t + 2, two);
    return !equal_samples(two[0], two[1]) || after(t + 1, t + 2) < t + 2;
  }
  // The first of samples [first, last) that differs from the one before it; last: none.
  std::int64_t after(std::int64_t first, std::int64_t last) {
    for (std::int64_t size = kFirstRead; first < last; size = std::min(2 * size, kLargestRead)) {
      const std::int64_t n = std::min(size, last - first);
      std::int64_t found = n;
      each_row(first - 1, n, [&](const float* row, std::size_t channel) {
        for (std::int64_t t = 0; t < found; ++t)
          if (!equal_samples(row[t], row[t + 1])) found = t, witness_ = channel;
      });
      if (found < n) return first + found;
      first += n;
    }
    return last;
  }
  // The last of samples (first, last] that differs from the one before it; first: none.
  std::int64_t before(std::int64_t first, std::int64_t last) {
    for (std::int64_t size = kFirstRead; last > first; size = std::min(2 * size, kLargestRead)) {
      const std::int64_t n = std::min(size, last - first), start = last - n;
      std::int64_t found = 0;
      each_row(start, n, [&](const float* row, std::size_t channel) {
        for (std::int64_t t = n; t > found; --t)
          if (!equal_samples(row[t - 1], row[t])) found = t, witness_ = channel;
      });
      if (found > 0) return start + found;
      last = start;
    }
    return first;
  }

 private:
  // Of each channel n + 1 samples from `first` on.
  template <class See>
  void each_row(std::int64_t first, std::int64_t n, See see) {
    buffer_.resize(all_.size() * static_cast<std::size_t>(n + 1));
    read_(all_, first, first + n + 1, buffer_.data());
    for (std::size_t c = 0; c < all_.size(); ++c) see(buffer_.data() + static_cast<std::int64_t>(c) * (n + 1), c);
  }

  std::vector<std::size_t> all_;
  const SampleReader& read_;
  std::vector<float> buffer_;
  std::size_t witness_ = 0;
};

}  // namespace

std::int64_t samples_in_gap(double seconds, double sfreq) {
  constexpr double kMost = 1e15;  // none is so long, and more would overflow
  return std::max<std::int64_t>(kFewestInGap, std::llround(std::min(seconds * sfreq, kMost)));
}

std::vector<Stretch> without_flat_runs(const std::vector<Stretch>& stretches, std::size_t channels, std::int64_t least, const SampleReader& read,
                                       std::int64_t& runs) {
  if (channels < 2) return stretches;
  Changes changes(channels, read);
  std::vector<Stretch> left;
  for (const auto& stretch : stretches) {
    std::int64_t from = stretch.first, seen = stretch.first;  // seen: where the last run ended
    for (std::int64_t t = stretch.first; t + 1 < stretch.last;) {
      if (changes.at(t)) {
        t += least - 1;  // a run that starts before is shorter
        continue;
      }
      const Stretch run{changes.before(seen, t), changes.after(t + 2, stretch.last)};
      seen = run.last;
      if (run.last - run.first >= least) {
        if (run.first > from) left.push_back({from, run.first});
        from = run.last;
        ++runs;
      }
      t = std::max(t + least - 1, run.last);
    }
    if (stretch.last > from) left.push_back({from, stretch.last});
  }
  return left;
}

bool only_flat_between(const std::vector<Stretch>& stretches, const std::vector<Stretch>& left, std::size_t channels, const SampleReader& read) {
  Changes changes(channels, read);
  auto next = left.begin();
  for (const auto& stretch : stretches) {
    std::int64_t from = stretch.first;
    // Runs of different values may follow each other.
    const auto flat_until = [&](std::int64_t last) {
      for (std::int64_t at = from; at < last;) {
        const auto end = changes.after(at + 1, last);
        if (end - at < kFewestInGap) return false;
        at = end;
      }
      return true;
    };
    for (; next != left.end() && next->first < stretch.last; from = next->last, ++next)
      if (next->first < from || next->last > stretch.last || !flat_until(next->first)) return false;
    if (!flat_until(stretch.last)) return false;
  }
  return next == left.end();
}

}  // namespace sslmed::eeg
