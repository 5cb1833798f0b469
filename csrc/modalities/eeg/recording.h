#pragma once
// A multichannel recording, wherever its samples are: a file of any format in io/signal_formats.cpp or an array in memory.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/lru.h"
#include "io/signal_file.h"
#include "modalities/eeg/channels.h"
#include "modalities/eeg/flat_gaps.h"
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

// The file's EEG channels (choose_channels()); what is left out for another reason than its name is in `notes`, and so are
// annotated spans and gaps of `flat_gap` seconds and more in which no channel changes (flat_gaps.h; 0: they are kept).
std::unique_ptr<Recording> open_recording(const std::string& path, std::shared_ptr<FileCache> cache, std::vector<std::string>& notes,
                                          const ChannelChoice& choice = {}, Spans spans = Spans::kUsable, double flat_gap = kFlatGap);
// values [channels, samples] in µV, not copied; `owner` keeps them alive. Channels are chosen as those of a file. Samples
// that are NaN in all channels are gaps, and so are those of files.
std::unique_ptr<Recording> array_recording(std::string name, const float* values, std::int64_t samples, double sfreq, const std::vector<std::string>& channels,
                                           std::shared_ptr<const void> owner, const ChannelChoice& choice = {}, double flat_gap = kFlatGap);
// The signals of a file, EEG or not.
std::vector<SignalHead> signals_of(const std::string& path);
// Typical deviation in µV of a recording's channels from their means, over 2 s in its middle; 0 of flat ones.
double typical_amplitude(const Recording& recording);

}  // namespace sslmed::eeg
