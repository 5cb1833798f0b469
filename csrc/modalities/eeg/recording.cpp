#include "modalities/eeg/recording.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <utility>

#include "core/error.h"

namespace sslmed::eeg {
namespace {

class EdfRecording : public Recording {
 public:
  EdfRecording(const std::string& path, std::shared_ptr<EdfCache> cache, std::vector<std::string>& notes) : path_(path), cache_(std::move(cache)) {
    const auto file = cache_->open(path);
    notes.insert(notes.end(), file->warnings().begin(), file->warnings().end());
    std::map<std::int64_t, int> rates;
    std::vector<std::size_t> usable;
    for (std::size_t i = 0; i < file->n_channels(); ++i) {
      const auto& signal = file->channel(i);
      if (is_auxiliary(signal.label) || !signal.has_scale || !microvolts(signal.unit)) continue;
      usable.push_back(i);
      ++rates[signal.samples_per_record];
    }
    if (usable.empty()) throw FormatError(path, "at least one EEG channel in a unit of voltage", std::to_string(file->n_channels()) + " other channels");
    const auto common = std::max_element(rates.begin(), rates.end(), [](const auto& a, const auto& b) { return a.second < b.second; })->first;
    for (const auto i : usable) {
      if (file->channel(i).samples_per_record != common) {
        notes.push_back(path + ": channel " + quote(file->channel(i).label) + " has another sampling rate than most and is left out");
        continue;
      }
      index_.push_back(i);
      channels_.push_back(file->channel(i).label);
      scale_.push_back(static_cast<float>(*microvolts(file->channel(i).unit)));
    }
    sfreq_ = file->sfreq(index_.front());
    for (const auto& segment : file->segments()) {
      const auto first = std::llround(segment.onset * sfreq_);
      stretches_.push_back({first, first + segment.n_records * common});
    }
  }

  const std::string& name() const override { return path_; }
  double sfreq() const override { return sfreq_; }
  const std::vector<std::string>& channels() const override { return channels_; }
  const std::vector<Stretch>& stretches() const override { return stretches_; }
  void read(const std::vector<std::size_t>& channels, std::int64_t first, std::int64_t last, float* into) const override {
    std::vector<std::size_t> in_file(channels.size());
    for (std::size_t row = 0; row < channels.size(); ++row) in_file[row] = index_[channels[row]];
    cache_->open(path_)->read_grid(in_file, first, last, into);
    const std::int64_t n = last - first;
    for (std::size_t row = 0; row < channels.size(); ++row) {
      const float scale = scale_[channels[row]];
      if (scale == 1.0f) continue;
      float* at = into + static_cast<std::int64_t>(row) * n;
      for (std::int64_t t = 0; t < n; ++t) at[t] *= scale;
    }
  }

 private:
  std::string path_;
  std::shared_ptr<EdfCache> cache_;
  std::vector<std::size_t> index_;
  std::vector<std::string> channels_;
  std::vector<float> scale_;
  std::vector<Stretch> stretches_;
  double sfreq_ = 0;
};

class ArrayRecording : public Recording {
 public:
  ArrayRecording(std::string name, const float* values, std::int64_t samples, double sfreq, std::vector<std::string> channels,
                 std::shared_ptr<const void> owner)
      : name_(std::move(name)),
        values_(values),
        samples_(samples),
        sfreq_(sfreq),
        channels_(std::move(channels)),
        stretches_{{0, samples}},
        owner_(std::move(owner)) {}

  const std::string& name() const override { return name_; }
  double sfreq() const override { return sfreq_; }
  const std::vector<std::string>& channels() const override { return channels_; }
  const std::vector<Stretch>& stretches() const override { return stretches_; }
  void read(const std::vector<std::size_t>& channels, std::int64_t first, std::int64_t last, float* into) const override {
    if (first < 0 || last < first || last > samples_)
      throw ValueError(name_ + ": samples " + std::to_string(first) + ".." + std::to_string(last) + " of " + std::to_string(samples_));
    for (const auto c : channels)
      into = std::copy(values_ + static_cast<std::int64_t>(c) * samples_ + first, values_ + static_cast<std::int64_t>(c) * samples_ + last, into);
  }

 private:
  std::string name_;
  const float* values_;
  std::int64_t samples_;
  double sfreq_;
  std::vector<std::string> channels_;
  std::vector<Stretch> stretches_;
  std::shared_ptr<const void> owner_;
};

}  // namespace

std::shared_ptr<const io::EdfFile> EdfCache::open(const std::string& path) {
  return files_.get(path, [&] { return std::make_shared<const io::EdfFile>(path); });
}

std::unique_ptr<Recording> open_recording(const std::string& path, std::shared_ptr<EdfCache> cache, std::vector<std::string>& notes) {
  return std::make_unique<EdfRecording>(path, std::move(cache), notes);
}

std::unique_ptr<Recording> array_recording(std::string name, const float* values, std::int64_t samples, double sfreq, std::vector<std::string> channels,
                                           std::shared_ptr<const void> owner) {
  if (channels.empty()) throw ValueError(name + ": expected at least one channel, got none");
  if (samples < 1) throw ValueError(name + ": expected at least one sample, got none");
  if (!(sfreq > 0) || !std::isfinite(sfreq)) throw ValueError(name + ": sfreq=" + std::to_string(sfreq) + " Hz must be positive");
  return std::make_unique<ArrayRecording>(std::move(name), values, samples, sfreq, std::move(channels), std::move(owner));
}

std::optional<double> microvolts(const std::string& unit) {
  if (unit == "uV" || unit == "\xc2\xb5V" || unit == "\xce\xbcV" || unit.empty()) return 1.0;
  if (unit == "nV") return 1e-3;
  if (unit == "mV") return 1e3;
  if (unit == "V") return 1e6;
  return std::nullopt;
}

bool is_auxiliary(const std::string& label) {
  std::string key;
  for (const char c : label) key += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  constexpr const char* kPrefixes[] = {"ecg",        "ekg",   "eog",     "emg",     "status", "trigger", "stim",   "sti ", "event",
                                       "marker",     "resp",  "temp",    "spo2",    "pulse",  "pleth",   "photic", "exg",  "gsr",
                                       "annotation", "snore", "airflow", "counter", "acc",    "gyro",    "battery"};
  return std::any_of(std::begin(kPrefixes), std::end(kPrefixes), [&](const char* prefix) { return key.rfind(prefix, 0) == 0; });
}

}  // namespace sslmed::eeg
