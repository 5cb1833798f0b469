#include "modalities/eeg/recording.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <numeric>
#include <utility>

#include "core/error.h"

namespace sslmed::eeg {
namespace {

class FileRecording : public Recording {
 public:
  FileRecording(const std::string& path, std::shared_ptr<FileCache> cache, std::vector<std::string>& notes, Spans spans)
      : path_(path), cache_(std::move(cache)) {
    const auto file = cache_->open(path);
    notes.insert(notes.end(), file->warnings().begin(), file->warnings().end());
    std::map<double, int> rates;
    std::vector<std::size_t> usable;
    for (std::size_t i = 0; i < file->n_channels(); ++i) {
      if (is_auxiliary(file->label(i)) || !file->has_scale(i) || !microvolts(file->unit(i))) continue;
      usable.push_back(i);
      ++rates[file->sfreq(i)];
    }
    if (usable.empty()) throw FormatError(path, "at least one EEG channel in a unit of voltage", std::to_string(file->n_channels()) + " other channels");
    const auto common = std::max_element(rates.begin(), rates.end(), [](const auto& a, const auto& b) { return a.second < b.second; })->first;
    for (const auto i : usable) {
      if (file->sfreq(i) != common) {
        notes.push_back(path + ": channel " + quote(file->label(i)) + " has another sampling rate than most and is left out");
        continue;
      }
      index_.push_back(i);
      channels_.push_back(file->label(i));
      scale_.push_back(static_cast<float>(*microvolts(file->unit(i))));
    }
    sfreq_ = file->sfreq(index_.front());
    stretches_ = file->stretches(index_.front());
    if (spans == Spans::kUsable) leave_out_spans(file->annotations(notes), notes);
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
  void leave_out_spans(const std::vector<io::Annotation>& annotations, std::vector<std::string>& notes) {
    const auto total = [](const std::vector<Stretch>& all) {
      return std::accumulate(all.begin(), all.end(), std::int64_t{0}, [](std::int64_t n, const Stretch& one) { return n + one.last - one.first; });
    };
    const auto stored = total(stretches_);
    stretches_ = usable_stretches(stretches_, annotations, sfreq_);
    if (const auto left = total(stretches_); left < stored)
      notes.push_back(path_ + ": " + std::to_string(static_cast<double>(stored - left) / sfreq_) + " s of " +
                      std::to_string(static_cast<double>(stored) / sfreq_) + " s are in spans annotated as bad, and left out");
  }

  std::string path_;
  std::shared_ptr<FileCache> cache_;
  std::vector<std::size_t> index_;
  std::vector<std::string> channels_;
  std::vector<float> scale_;
  std::vector<Stretch> stretches_;
  double sfreq_ = 0;
};

constexpr double kZeroGap = 0.5;  // s that all channels are exactly 0 where a writer had filled a gap

// Runs of samples outside gaps, which are NaN in all channels, or 0 in all of several for half a second and longer. All samples
// where there is nothing else: then windows tell that they are flat.
std::vector<Stretch> stretches_outside_gaps(const float* values, std::int64_t channels, std::int64_t samples, double sfreq) {
  const auto all = [&](std::int64_t t, auto is) {
    for (std::int64_t c = 0; c < channels; ++c)
      if (!is(values[c * samples + t])) return false;
    return true;
  };
  const auto nan = [](float x) { return std::isnan(x); };
  const auto zero = [](float x) { return x == 0.0f; };
  const auto least = channels > 1 ? std::llround(kZeroGap * sfreq) : samples + 1;
  std::vector<Stretch> found;
  std::int64_t first = 0;
  const auto gap = [&](std::int64_t from, std::int64_t to) {
    if (from > first) found.push_back({first, from});
    first = to;
  };
  for (std::int64_t t = 0; t < samples;) {
    std::int64_t end = t;
    while (end < samples && all(end, nan)) ++end;
    if (end > t) {
      gap(t, end);
    } else {
      while (end < samples && all(end, zero)) ++end;
      if (end - t >= least) gap(t, end);
    }
    t = std::max(end, t + 1);
  }
  gap(samples, samples);
  if (found.empty()) found.push_back({0, samples});
  return found;
}

class ArrayRecording : public Recording {
 public:
  ArrayRecording(std::string name, const float* values, std::int64_t samples, double sfreq, std::vector<std::string> channels,
                 std::shared_ptr<const void> owner)
      : name_(std::move(name)),
        values_(values),
        samples_(samples),
        sfreq_(sfreq),
        channels_(std::move(channels)),
        stretches_(stretches_outside_gaps(values, static_cast<std::int64_t>(channels_.size()), samples, sfreq)),
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

std::shared_ptr<const io::SignalFile> FileCache::open(const std::string& path) {
  return files_.get(path, [&] { return io::open_signals(path); });
}

std::unique_ptr<Recording> open_recording(const std::string& path, std::shared_ptr<FileCache> cache, std::vector<std::string>& notes, Spans spans) {
  return std::make_unique<FileRecording>(path, std::move(cache), notes, spans);
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
