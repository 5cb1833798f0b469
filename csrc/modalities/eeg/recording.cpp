#include "modalities/eeg/recording.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <utility>

#include "core/error.h"

namespace sslmed::eeg {
namespace {

std::vector<SignalHead> heads_of(const io::SignalFile& file) {
  std::vector<SignalHead> heads;
  for (std::size_t i = 0; i < file.n_channels(); ++i) heads.push_back({file.label(i), file.unit(i), file.sfreq(i), file.has_scale(i)});
  return heads;
}

// Units that are known from elsewhere come first. Of headers that say something else a note is made.
void set_units(std::vector<SignalHead>& heads, const ChannelChoice& choice, const std::string& path, std::vector<std::string>& notes) {
  std::string first;
  std::size_t changed = 0;
  if (choice.units.empty()) return;
  std::vector<std::string> labels;
  for (const auto& head : heads) labels.push_back(head.label);
  const auto units = units_of_labels(labels, choice.units);
  for (auto& head : heads) {
    const auto given = units.find(head.label);
    if (given == units.end() || given->second == head.unit) continue;
    const bool empty = head.unit.find_first_not_of(' ') == std::string::npos;
    if (!empty && microvolts(head.unit) != microvolts(given->second) && changed++ == 0)
      first = "channel " + quote(head.label) + " is in " + quote(given->second) + " by channels.tsv, and in " + quote(head.unit) + " by its own header";
    head.unit = given->second;
  }
  if (changed > 0)
    notes.push_back(path + ": " + first + (changed > 1 ? ", and so are " + std::to_string(changed - 1) + " more" : "") +
                    "; channels.tsv is believed: correct it if amplitudes are implausible");
}

// Why a recording has no channel, by the reasons' first channels.
std::string left_out_of(const std::vector<SignalHead>& heads, const std::vector<ChannelUse>& uses) {
  std::map<std::string, std::vector<std::string>> reasons;
  for (std::size_t i = 0; i < uses.size(); ++i) reasons[uses[i].why].push_back(heads[i].label);
  std::string text = "none among " + std::to_string(heads.size());
  for (const auto& [why, labels] : reasons)
    text += "; " + quote(labels.front()) + (labels.size() > 1 ? " and " + std::to_string(labels.size() - 1) + " more: " : ": ") + why;
  return text;
}

std::int64_t total_samples(const std::vector<Stretch>& stretches) {
  return std::accumulate(stretches.begin(), stretches.end(), std::int64_t{0}, [](std::int64_t n, const Stretch& one) { return n + one.last - one.first; });
}

class FileRecording : public Recording {
 public:
  FileRecording(const std::string& path, std::shared_ptr<FileCache> cache, std::vector<std::string>& notes, const ChannelChoice& choice, Spans spans,
                double flat_gap)
      : path_(path), cache_(std::move(cache)) {
    const auto file = cache_->open(path);
    notes.insert(notes.end(), file->warnings().begin(), file->warnings().end());
    auto heads = heads_of(*file);
    set_units(heads, choice, path, notes);
    const auto uses = choose_channels(heads, choice);
    for (std::size_t i = 0; i < uses.size(); ++i) {
      if (!uses[i].used) {
        if (uses[i].told) notes.push_back(path + ": channel " + quote(heads[i].label) + " " + uses[i].why + " and is left out");
        continue;
      }
      index_.push_back(i);
      channels_.push_back(uses[i].label);
      scale_.push_back(static_cast<float>(*microvolts(heads[i].unit)));
    }
    if (index_.empty()) throw FormatError(path, "at least one EEG channel in a unit of voltage", left_out_of(heads, uses));
    sfreq_ = file->sfreq(index_.front());
    stretches_ = file->stretches(index_.front());
    if (spans == Spans::kUsable) leave_out_spans(file->annotations(notes), notes);
    if (spans == Spans::kUsable && flat_gap > 0) leave_out_flat_runs(*file, flat_gap, notes);
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
    const auto stored = total_samples(stretches_);
    stretches_ = usable_stretches(stretches_, annotations, sfreq_);
    if (const auto left = total_samples(stretches_); left < stored)
      notes.push_back(path_ + ": " + left_out_text(stored, left) + "are in spans annotated as bad, and left out");
  }
  void leave_out_flat_runs(const io::SignalFile& file, double flat_gap, std::vector<std::string>& notes) {
    const auto stored = total_samples(stretches_);
    std::vector<std::size_t> in_file;
    std::int64_t runs = 0;
    auto left = without_flat_runs(
        stretches_, index_.size(), samples_in_gap(flat_gap, sfreq_),
        [&](const std::vector<std::size_t>& channels, std::int64_t first, std::int64_t last, float* into) {
          in_file.clear();
          for (const auto c : channels) in_file.push_back(index_[c]);
          file.read_grid(in_file, first, last, into);
        },
        runs);
    if (runs == 0 || left.empty()) return;  // of a recording that is flat as a whole, windows tell it
    stretches_ = std::move(left);
    notes.push_back(path_ + ": " + left_out_text(stored, total_samples(stretches_)) + "are in " + std::to_string(runs) + (runs > 1 ? " gaps" : " gap") +
                    " in which no channel changes for " + std::to_string(flat_gap) + " s or longer, and left out (flat_gap=0 keeps them)");
  }
  std::string left_out_text(std::int64_t stored, std::int64_t left) const {
    return std::to_string(static_cast<double>(stored - left) / sfreq_) + " s of " + std::to_string(static_cast<double>(stored) / sfreq_) + " s ";
  }

  std::string path_;
  std::shared_ptr<FileCache> cache_;
  std::vector<std::size_t> index_;
  std::vector<std::string> channels_;
  std::vector<float> scale_;
  std::vector<Stretch> stretches_;
  double sfreq_ = 0;
};

// Runs of samples outside gaps, which are NaN in all channels. All samples where there is nothing else: then windows tell that
// they are flat.
std::vector<Stretch> stretches_outside_nan(const float* values, const std::vector<std::size_t>& rows, std::int64_t samples) {
  const auto is_gap = [&](std::int64_t t) {
    return std::all_of(rows.begin(), rows.end(), [&](std::size_t c) { return std::isnan(values[static_cast<std::int64_t>(c) * samples + t]); });
  };
  std::vector<Stretch> found;
  for (std::int64_t first = 0; first < samples;) {
    if (is_gap(first)) {
      ++first;
      continue;
    }
    std::int64_t last = first + 1;
    while (last < samples && !is_gap(last)) ++last;
    found.push_back({first, last});
    first = last;
  }
  if (found.empty()) found.push_back({0, samples});
  return found;
}

class ArrayRecording : public Recording {
 public:
  ArrayRecording(std::string name, const float* values, std::int64_t samples, double sfreq, std::vector<std::string> channels, std::vector<std::size_t> rows,
                 std::shared_ptr<const void> owner, double flat_gap)
      : name_(std::move(name)),
        values_(values),
        samples_(samples),
        sfreq_(sfreq),
        channels_(std::move(channels)),
        rows_(std::move(rows)),
        stretches_(stretches_outside_nan(values, rows_, samples)),
        owner_(std::move(owner)) {
    if (!(flat_gap > 0)) return;
    std::int64_t runs = 0;
    const auto from_memory = [this](const std::vector<std::size_t>& which, std::int64_t first, std::int64_t last, float* into) {
      read(which, first, last, into);
    };
    auto left = without_flat_runs(stretches_, rows_.size(), samples_in_gap(flat_gap, sfreq_), from_memory, runs);
    if (!left.empty()) stretches_ = std::move(left);
  }

  const std::string& name() const override { return name_; }
  double sfreq() const override { return sfreq_; }
  const std::vector<std::string>& channels() const override { return channels_; }
  const std::vector<Stretch>& stretches() const override { return stretches_; }
  void read(const std::vector<std::size_t>& channels, std::int64_t first, std::int64_t last, float* into) const override {
    if (first < 0 || last < first || last > samples_)
      throw ValueError(name_ + ": samples " + std::to_string(first) + ".." + std::to_string(last) + " of " + std::to_string(samples_));
    for (const auto c : channels) {
      const float* row = values_ + static_cast<std::int64_t>(rows_[c]) * samples_;
      into = std::copy(row + first, row + last, into);
    }
  }

 private:
  std::string name_;
  const float* values_;
  std::int64_t samples_;
  double sfreq_;
  std::vector<std::string> channels_;
  std::vector<std::size_t> rows_;  // of the channels in values_
  std::vector<Stretch> stretches_;
  std::shared_ptr<const void> owner_;
};

}  // namespace

std::shared_ptr<const io::SignalFile> FileCache::open(const std::string& path) {
  return files_.get(path, [&] { return io::open_signals(path); });
}

std::unique_ptr<Recording> open_recording(const std::string& path, std::shared_ptr<FileCache> cache, std::vector<std::string>& notes,
                                          const ChannelChoice& choice, Spans spans, double flat_gap) {
  return std::make_unique<FileRecording>(path, std::move(cache), notes, choice, spans, flat_gap);
}

std::vector<SignalHead> signals_of(const std::string& path) { return heads_of(*io::open_signals(path)); }

std::unique_ptr<Recording> array_recording(std::string name, const float* values, std::int64_t samples, double sfreq, const std::vector<std::string>& channels,
                                           std::shared_ptr<const void> owner, const ChannelChoice& choice, double flat_gap) {
  if (channels.empty()) throw ValueError(name + ": expected at least one channel, got none");
  if (samples < 1) throw ValueError(name + ": expected at least one sample, got none");
  if (!(sfreq > 0) || !std::isfinite(sfreq)) throw ValueError(name + ": sfreq=" + std::to_string(sfreq) + " Hz must be positive");
  std::vector<SignalHead> heads;
  for (const auto& channel : channels) heads.push_back({channel, "uV", sfreq, true});
  const auto uses = choose_channels(heads, choice);
  std::vector<std::string> names;
  std::vector<std::size_t> rows;
  for (std::size_t i = 0; i < uses.size(); ++i)
    if (uses[i].used) names.push_back(uses[i].label), rows.push_back(i);
  if (rows.empty()) throw FormatError(name, "at least one EEG channel", left_out_of(heads, uses));
  return std::make_unique<ArrayRecording>(std::move(name), values, samples, sfreq, std::move(names), std::move(rows), std::move(owner), flat_gap);
}

double typical_amplitude(const Recording& recording) {
  const Stretch* longest = nullptr;
  for (const auto& stretch : recording.stretches())
    if (longest == nullptr || stretch.last - stretch.first > longest->last - longest->first) longest = &stretch;
  if (longest == nullptr) return 0;
  const auto n = std::min<std::int64_t>(longest->last - longest->first, std::max<std::int64_t>(2, std::llround(2 * recording.sfreq())));
  const auto first = longest->first + (longest->last - longest->first - n) / 2;
  std::vector<std::size_t> channels(recording.channels().size());
  for (std::size_t c = 0; c < channels.size(); ++c) channels[c] = c;
  std::vector<float> values(channels.size() * static_cast<std::size_t>(n));
  recording.read(channels, first, first + n, values.data());
  std::vector<double> deviations;
  for (std::size_t c = 0; c < channels.size(); ++c) {
    const float* x = values.data() + static_cast<std::int64_t>(c) * n;
    double sum = 0, squares = 0;
    for (std::int64_t t = 0; t < n; ++t) sum += x[t];
    for (std::int64_t t = 0; t < n; ++t) squares += (x[t] - sum / static_cast<double>(n)) * (x[t] - sum / static_cast<double>(n));
    if (const double deviation = std::sqrt(squares / static_cast<double>(n)); std::isfinite(deviation) && deviation > 0) deviations.push_back(deviation);
  }
  if (deviations.empty()) return 0;
  const auto middle = deviations.begin() + static_cast<std::ptrdiff_t>(deviations.size() / 2);
  std::nth_element(deviations.begin(), middle, deviations.end());
  return *middle;
}

}  // namespace sslmed::eeg
