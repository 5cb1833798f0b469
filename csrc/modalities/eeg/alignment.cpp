#include "modalities/eeg/alignment.h"

#include <algorithm>
#include <numeric>
#include <tuple>
#include <utility>

#include "transforms/symmetric.h"

namespace sslmed::eeg {
namespace {

std::vector<std::int64_t> set_in(const std::vector<char>& usable) {
  std::vector<std::int64_t> rows;
  for (std::size_t c = 0; c < usable.size(); ++c)
    if (usable[c] != 0) rows.push_back(static_cast<std::int64_t>(c));
  return rows;
}

}  // namespace

MeanCovariance::MeanCovariance(std::int64_t n) : channels(n), sums(static_cast<std::size_t>(n * n), 0.0), counts(static_cast<std::size_t>(n * n), 0.0) {}

void MeanCovariance::add(const std::vector<char>& usable, const double* x, std::int64_t length) {
  const auto rows = set_in(usable);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (std::size_t j = i; j < rows.size(); ++j) {
      const double *a = x + static_cast<std::int64_t>(i) * length, *b = x + static_cast<std::int64_t>(j) * length;
      const auto pair = static_cast<std::size_t>(rows[i] * channels + rows[j]), mirrored = static_cast<std::size_t>(rows[j] * channels + rows[i]);
      sums[mirrored] = sums[pair] += std::inner_product(a, a + length, b, 0.0) / static_cast<double>(length);
      counts[mirrored] = counts[pair] += 1;
    }
  }
}

std::vector<double> MeanCovariance::inverse_root(const std::vector<char>& usable) const {
  const auto rows = set_in(usable);
  if (!whole.empty() && static_cast<std::int64_t>(rows.size()) == channels) return whole;
  std::vector<double> mean;
  mean.reserve(rows.size() * rows.size());
  for (const auto i : rows)
    for (const auto j : rows)
      mean.push_back(sums[static_cast<std::size_t>(i * channels + j)] / std::max(1.0, counts[static_cast<std::size_t>(i * channels + j)]));
  return transforms::inverse_root(std::move(mean), static_cast<std::int64_t>(rows.size()));
}

Alignment::Alignment(const RecordingList& recordings) : recordings_(recordings), order_(static_cast<std::size_t>(recordings.size())) {
  std::iota(order_.begin(), order_.end(), 0);
  std::sort(order_.begin(), order_.end(), [&](std::int64_t a, std::int64_t b) {
    return std::tuple(recordings.subject_code(a), recordings.montage(a), a) < std::tuple(recordings.subject_code(b), recordings.montage(b), b);
  });
}

std::pair<std::size_t, std::size_t> Alignment::group(std::int64_t recording) const {
  const auto key = [&](std::int64_t i) { return std::pair(recordings_.subject_code(i), recordings_.montage(i)); };
  const auto low = std::lower_bound(order_.begin(), order_.end(), recording, [&](std::int64_t a, std::int64_t b) { return key(a) < key(b); });
  const auto high = std::upper_bound(low, order_.end(), recording, [&](std::int64_t a, std::int64_t b) { return key(a) < key(b); });
  return {static_cast<std::size_t>(low - order_.begin()), static_cast<std::size_t>(high - order_.begin())};
}

std::vector<std::int64_t> Alignment::relatives(std::int64_t recording) const {
  const auto [first, last] = group(recording);
  return {order_.begin() + static_cast<std::ptrdiff_t>(first), order_.begin() + static_cast<std::ptrdiff_t>(last)};
}

std::shared_ptr<const MeanCovariance> Alignment::find(std::int64_t recording) const {
  const auto key = group(recording).first;
  const std::lock_guard lock(mutex_);
  const auto found = means_.find(key);
  return found == means_.end() ? nullptr : found->second;
}

std::shared_ptr<const MeanCovariance> Alignment::keep(std::int64_t recording, std::shared_ptr<const MeanCovariance> mean) {
  const auto key = group(recording).first;
  const std::lock_guard lock(mutex_);
  return means_.try_emplace(key, std::move(mean)).first->second;  // another thread's, where it was faster: they are equal
}

}  // namespace sslmed::eeg
