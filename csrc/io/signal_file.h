#pragma once
// What files of signals have in common, whatever their format. Values are physical; gaps are NaN.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace sslmed::io {

struct Annotation {
  double onset = 0;                // s from the first sample
  std::optional<double> duration;  // s
  std::string text;                // UTF-8
};

struct Stretch {
  std::int64_t first = 0, last = 0;  // samples without a gap, [first, last)
  bool operator==(const Stretch&) const = default;
};

// An open file. Thread-safe: every read is a pread.
class SignalFile {
 public:
  virtual ~SignalFile() = default;
  virtual const std::string& path() const noexcept = 0;
  virtual const std::vector<std::string>& warnings() const noexcept = 0;  // what was salvaged while opening
  virtual std::size_t n_channels() const noexcept = 0;
  virtual const std::string& label(std::size_t i) const = 0;
  virtual const std::string& unit(std::size_t i) const = 0;
  virtual bool has_scale(std::size_t i) const = 0;  // whether its stored numbers have a physical meaning
  virtual double sfreq(std::size_t i) const = 0;    // Hz
  // Of the time axis of channel i, the samples that are stored.
  virtual std::vector<Stretch> stretches(std::size_t i) const = 0;
  // Sorted by onset. What cannot be read is left out and told in `notes`.
  virtual std::vector<Annotation> annotations(std::vector<std::string>& notes) const = 0;
  // The sample grid of the time axis: [first, last) of channels of one rate, row after row, NaN in gaps.
  virtual void read_grid(const std::vector<std::size_t>& channels, std::int64_t first, std::int64_t last, float* into) const = 0;
};

// Opens a file of any format in the table of signal_formats.cpp. FormatError, ReadError.
std::shared_ptr<const SignalFile> open_signals(const std::string& path);

}  // namespace sslmed::io
