#pragma once
// Gaps that a writer filled with one value: runs of samples in which no channel changes.

#include <cstdint>
#include <functional>
#include <vector>

#include "io/signal_file.h"

namespace sslmed::eeg {

using Stretch = io::Stretch;

// Samples [first, last) of channels, row after row.
using SampleReader = std::function<void(const std::vector<std::size_t>& channels, std::int64_t first, std::int64_t last, float* into)>;

constexpr double kFlatGap = 0.5;           // s, by default the shortest gap
constexpr std::int64_t kFewestInGap = 10;  // samples: in fewer, slow or coarse signals may well be equal

// The shortest gap in samples.
std::int64_t samples_in_gap(double seconds, double sfreq);
// `stretches` without runs of at least `least` samples in which none of several channels changes; `runs` counts them. Two
// samples of one channel are read for every `least`, and more where they are equal.
std::vector<Stretch> without_flat_runs(const std::vector<Stretch>& stretches, std::size_t channels, std::int64_t least, const SampleReader& read,
                                       std::int64_t& runs);
// Whether `left` is `stretches` without runs in which no channel changes.
bool only_flat_between(const std::vector<Stretch>& stretches, const std::vector<Stretch>& left, std::size_t channels, const SampleReader& read);

}  // namespace sslmed::eeg
