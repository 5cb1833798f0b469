#pragma once
// Windows of EEG recordings, filtered, resampled, re-referenced and scaled on the fly, in the loader's threads.

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data/recording.h"
#include "data/source.h"
#include "transforms/filter.h"
#include "transforms/resample.h"
#include "transforms/scale.h"

namespace sslmed::data {

struct EegOptions {
  double sfreq = 200;           // Hz after resampling
  double window = 4;            // s
  double stride = 0;            // s between window starts; 0: the window's length
  bool jitter = false;          // moves each start forward by a random part of the stride
  double low = 0.5, high = 75;  // Hz, band-pass; 0: none at that end; capped below each recording's Nyquist rate
  int order = 4;
  double notch = 0;   // Hz; 0: none
  double margin = 1;  // s read on each side of a window so that filters settle outside it
  bool average_reference = true;
  transforms::Scaling scaling = transforms::Scaling::kZScore;
  double clip = 15;  // in units of the scale; 0: none
};

struct RecordingEntry {
  std::shared_ptr<const Recording> recording;
  std::string subject, site;
};

class EegSource : public Source {
 public:
  // `extra_channels`: names without a known position that the encoder's learned table has, in its order. Channels in neither
  // are left out, and named in notes(). ValueError when no recording holds a window.
  EegSource(std::vector<RecordingEntry> entries, const EegOptions& options, std::vector<std::string> extra_channels);

  std::int64_t size() const override { return static_cast<std::int64_t>(windows_.size()); }
  SampleInfo describe(std::int64_t index) const override;
  Sample sample(std::int64_t index, const Draw& draw) const override;

  const EegOptions& options() const noexcept { return options_; }
  const std::vector<std::string>& notes() const noexcept { return notes_; }
  std::int64_t recordings() const noexcept { return static_cast<std::int64_t>(prepared_.size()); }

 private:
  // What does not change from window to window of one recording.
  struct Prepared {
    RecordingEntry entry;
    std::vector<std::size_t> rows;  // channels that have a place
    ElectrodeSpace space;
    std::vector<transforms::Sections> filters;
    std::shared_ptr<const transforms::Resampler> resampler;
    std::int64_t input_length = 0;  // stored samples that a window needs
  };
  struct Window {
    std::int32_t recording;
    std::int64_t start, slack;  // stored samples; slack: how far the start may move forward
    std::int64_t first, last;   // the stretch around it
  };
  void process(const Prepared& prepared, const std::vector<const float*>& rows, std::int64_t length, std::int64_t offset, double* into) const;
  Prepared prepare(RecordingEntry entry, const std::vector<std::string>& extra);

  EegOptions options_;
  std::int64_t output_length_;
  std::vector<Prepared> prepared_;
  std::vector<Window> windows_;
  std::vector<std::string> notes_;
  std::map<std::string, std::pair<int, std::string>> left_out_;  // channel to how often, and where first
};

}  // namespace sslmed::data
