#pragma once
// A multichannel recording, wherever its samples are: a file of any format in io/signal_formats.cpp or an array in memory.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/lru.h"
#include "io/signal_file.h"
#include "modalities/eeg/spans.h"

namespace sslmed::eeg {

// Open files, the least recently used closed first. Shared by the recordings of a source; thread-safe.
class FileCache {
 public:
  explicit FileCache(std::size_t capacity = 256) : files_(capacity) {}
  std::shared_ptr<const io::SignalFile> open(const std::string& path);

 private:
  Lru<std::string, io::SignalFile> files_;
};

class Recording {
 public:
  virtual ~Recording() = default;
  virtual const std::string& name() const = 0;
  virtual double sfreq() const = 0;                              // Hz
  virtual const std::vector<std::string>& channels() const = 0;  // names of the channels that read() gives
  virtual const std::vector<Stretch>& stretches() const = 0;
  // Samples [first, last) of the given channels in µV, row after row.
  virtual void read(const std::vector<std::size_t>& channels, std::int64_t first, std::int64_t last, float* into) const = 0;
};

// What the stretches of a recording are: all that is stored, or what its annotations leave of it (spans.h).
enum class Spans { kStored, kUsable };

// Channels that share the file's most common rate and carry a voltage; others are left out and named in `notes`, and so are
// annotated spans.
std::unique_ptr<Recording> open_recording(const std::string& path, std::shared_ptr<FileCache> cache, std::vector<std::string>& notes,
                                          Spans spans = Spans::kUsable);
// values [channels, samples] in µV, not copied; `owner` keeps them alive. Samples that are NaN in all channels, or 0 for half a
// second and longer, are gaps.
std::unique_ptr<Recording> array_recording(std::string name, const float* values, std::int64_t samples, double sfreq, std::vector<std::string> channels,
                                           std::shared_ptr<const void> owner);

// Microvolts in one `unit` ("mV": 1000). Empty for what is no voltage; 1 for an empty unit, which many files mean as µV.
std::optional<double> microvolts(const std::string& unit);
// Whether a label names something else than an EEG electrode (ECG, EOG, EMG, triggers, respiration …).
bool is_auxiliary(const std::string& label);

}  // namespace sslmed::eeg
