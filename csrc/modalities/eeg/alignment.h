#pragma once
// Euclidean alignment (He and Wu, arXiv 1808.05464): X' = R^(-1/2) X, R the mean covariance of a subject's windows. What is kept here.

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "modalities/eeg/recording_list.h"

namespace sslmed::eeg {

// Sums over windows of X Xᵀ / T, pair by pair of a montage's channels: a channel without a signal takes no part in its window.
struct MeanCovariance {
  explicit MeanCovariance(std::int64_t channels);
  // x [rows of `usable` that are set, length]
  void add(const std::vector<char>& usable, const double* x, std::int64_t length);
  // R^(-1/2) of the channels that are set.
  std::vector<double> inverse_root(const std::vector<char>& usable) const;

  std::int64_t channels;
  std::vector<double> sums, counts;  // [channels, channels]
  std::vector<double> whole;         // inverse_root of all channels, once the mean is complete
};

// The means of all subjects seen so far: channels² · 24 bytes each. Safe from many threads.
class Alignment {
 public:
  explicit Alignment(const RecordingList& recordings);
  // Recordings of the same subject and montage, ascending.
  std::vector<std::int64_t> relatives(std::int64_t recording) const;
  std::shared_ptr<const MeanCovariance> find(std::int64_t recording) const;  // null where it is not known yet
  std::shared_ptr<const MeanCovariance> keep(std::int64_t recording, std::shared_ptr<const MeanCovariance> mean);

 private:
  std::pair<std::size_t, std::size_t> group(std::int64_t recording) const;  // of order_

  const RecordingList& recordings_;
  std::vector<std::int64_t> order_;  // recordings by subject and montage
  mutable std::mutex mutex_;
  std::map<std::size_t, std::shared_ptr<const MeanCovariance>> means_;  // by the group's place in order_
};

}  // namespace sslmed::eeg
