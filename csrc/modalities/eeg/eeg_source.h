#pragma once
// Windows of EEG recordings, filtered, resampled, re-referenced and scaled on the fly, in the loader's threads.

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data/source.h"
#include "modalities/eeg/alignment.h"
#include "modalities/eeg/recording_list.h"
#include "transforms/filter.h"
#include "transforms/resample.h"
#include "transforms/scale.h"

namespace sslmed::eeg {

struct EegOptions {
  std::string modality = "eeg";      // of its samples
  double sfreq = 200;                // Hz after resampling
  double window = 4;                 // s
  double stride = 0;                 // s between window starts; 0: the window's length
  bool jitter = false;               // moves each start forward by a random part of the stride
  double l_freq = 0.5, h_freq = 75;  // Hz, band-pass; 0: none at that end; capped below each recording's Nyquist rate
  int order = 4;
  double notch = 0;   // Hz; 0: none
  double margin = 1;  // s read on each side of a window so that filters settle outside it
  bool average_reference = true;
  transforms::Scaling scaling = transforms::Scaling::kZScore;
  double clip = 15;    // in units of the scale; 0: none
  bool align = false;  // each subject's windows by the inverse root of their mean covariance, before the scale
  double unit = 1;     // µV that count as one, with Scaling::kNone
  // Channels of all samples, in this order; 10-05 names in any spelling, or a recording's own. Empty: all channels of each recording that have a place.
  std::vector<std::string> montage;
  ChannelChoice choice;        // of the channels of each recording
  double flat_gap = kFlatGap;  // s for which no channel changes that are a gap; 0: none are looked for
};

class EegSource : public data::Source {
 public:
  // `extra_channels`: names without a known position that the encoder's learned table has, in its order. Channels in neither
  // are left out, and named in notes(). `targets`: columns of labels, one entry a recording. ValueError when no recording holds a window, or one lacks a
  // channel of options.montage.
  EegSource(std::shared_ptr<const RecordingList> recordings, const EegOptions& options, const std::vector<std::string>& extra_channels,
            std::map<std::string, std::vector<double>> targets = {});

  std::int64_t size() const override { return first_window_.back(); }
  data::SampleInfo describe(std::int64_t index) const override;
  std::vector<std::int64_t> first_samples() const override { return first_window_; }
  data::Sample sample(std::int64_t index, const Draw& draw) const override;

  const EegOptions& options() const noexcept { return options_; }
  const std::vector<std::string>& notes() const noexcept { return notes_; }

 private:
  // What does not change from window to window, and not among the recordings of one montage.
  struct Prepared {
    std::vector<std::size_t> rows;  // channels that are read
    std::vector<char> averaged;     // of them: in the average reference
    std::string missing;            // channel of options.montage that is not there; empty: none
    data::ChannelSpace space;
    std::vector<transforms::Sections> filters;
    std::shared_ptr<const transforms::Resampler> resampler;
    double sfreq = 0;               // stored, Hz
    std::int64_t input_length = 0;  // stored samples that a window needs
    std::int64_t stride = 0;        // stored samples between windows
  };
  struct Window {
    std::int64_t recording;
    std::int64_t start, slack;  // stored samples; slack: how far the start may move forward
    std::int64_t first, last;   // the stretch around it
  };
  // Windows are counted, not listed: a million recordings have a hundred million of them.
  Window window(std::int64_t index) const;
  std::int64_t windows_of(std::int64_t recording) const;
  // A window from `start`, filtered and referenced.
  struct Signal {
    std::vector<char> usable;    // of the montage's placed channels: carries a signal
    std::int64_t channels = 0;   // usable ones
    std::vector<double> values;  // [channels, output_length_]
  };
  void read(const Window& window, std::int64_t start, Signal& into) const;
  std::shared_ptr<const MeanCovariance> mean_covariance(std::int64_t recording) const;
  void align(std::int64_t recording, Signal& signal) const;
  void process(const Prepared& prepared, const std::vector<const float*>& rows, std::int64_t length, std::int64_t offset, double* into) const;
  Prepared prepare(const Montage& montage, const std::vector<std::string>& extra, std::vector<std::string>& left_out) const;
  void place_channels(const Montage& montage, const std::vector<std::string>& extra, std::vector<std::string>& left_out, Prepared& into) const;
  void choose_montage(const Montage& montage, const std::vector<std::string>& extra, Prepared& into) const;
  void check_whole(const Window& window, std::int64_t start, const Signal& signal) const;
  void note_left_out(const std::vector<std::vector<std::string>>& left_out);
  void check_options() const;
  void prepare_all(const std::vector<std::string>& extra_channels);
  void count_windows();
  [[noreturn]] void refuse_short() const;

  EegOptions options_;
  std::int64_t output_length_;
  std::shared_ptr<const RecordingList> recordings_;
  std::vector<Prepared> prepared_;                      // of each montage
  std::vector<std::int64_t> first_window_;              // of each recording, and how many there are in all
  std::map<std::string, std::vector<double>> targets_;  // of each recording
  std::vector<std::string> notes_;
  std::unique_ptr<Alignment> alignment_;  // with options_.align
};

}  // namespace sslmed::eeg
