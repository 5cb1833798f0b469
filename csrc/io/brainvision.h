#pragma once
// Reading BrainVision recordings: a text header (.vhdr), a binary file of samples (.eeg), and a text of markers (.vmrk).
// Thread-safe after construction: every read is a pread of the wanted samples.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/file.h"
#include "io/brainvision_header.h"

namespace sslmed::io {

class BrainVisionFile : public SignalFile {
 public:
  // `header_path`: the .vhdr. A data or marker file that the header names and that is not there may have been renamed with
  // the header: the one beside it with its stem is read, and told.
  explicit BrainVisionFile(const std::string& header_path);
  // With the files given, whatever the header calls them; no markers where `marker_path` is empty.
  BrainVisionFile(const std::string& header_path, const std::string& data_path, const std::string& marker_path);

  const std::string& path() const noexcept override { return path_; }
  const std::string& data_path() const noexcept { return data_.path(); }
  const BrainVisionHeader& header() const noexcept { return header_; }
  const std::vector<std::string>& warnings() const noexcept override { return warnings_; }

  std::size_t n_channels() const noexcept override { return header_.channels.size(); }
  const std::string& label(std::size_t i) const override { return header_.channels.at(i).name; }
  const std::string& unit(std::size_t i) const override { return header_.channels.at(i).unit; }
  bool has_scale(std::size_t i) const override { return header_.channels.at(i).resolution != 0; }
  double sfreq(std::size_t /*i*/) const override { return header_.sfreq; }
  double sfreq() const noexcept { return header_.sfreq; }
  std::int64_t n_samples() const noexcept { return samples_; }
  std::optional<DateTime> start() const { return markers_.start; }
  std::vector<Stretch> stretches(std::size_t i) const override;
  std::vector<Annotation> annotations(std::vector<std::string>& notes) const override;
  void read_grid(const std::vector<std::size_t>& channels, std::int64_t first, std::int64_t last, float* into) const override;

 private:
  void count_samples();
  void read_markers(const std::string& marker_path);
  void read_multiplexed(const std::vector<std::size_t>& channels, std::int64_t first, std::int64_t last, float* into) const;

  std::string path_;
  std::vector<std::string> warnings_;  // before the header, whose reading fills it
  BrainVisionHeader header_;
  File data_;
  std::int64_t samples_ = 0;  // of each channel
  std::vector<float> gains_;  // of each channel
  BrainVisionMarkers markers_;
};

}  // namespace sslmed::io
