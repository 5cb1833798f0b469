#include "modalities/eeg/eeg_source.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

#include "core/error.h"
#include "transforms/lanes.h"

namespace sslmed::eeg {

std::int64_t EegSource::windows_of(std::int64_t recording) const {
  thread_local std::vector<Stretch> stretches;
  const auto& prepared = prepared_[static_cast<std::size_t>(recordings_->montage(recording))];
  recordings_->stretches(recording, stretches);
  std::int64_t n = 0;
  for (const auto& stretch : stretches)
    if (const auto room = stretch.last - stretch.first - prepared.input_length; room >= 0) n += room / prepared.stride + 1;
  return n;
}

EegSource::Window EegSource::window(std::int64_t index) const {
  if (index < 0 || index >= size()) throw ValueError("window " + std::to_string(index) + " of " + std::to_string(size()));
  thread_local std::vector<Stretch> stretches;
  const std::int64_t recording = std::upper_bound(first_window_.begin(), first_window_.end(), index) - first_window_.begin() - 1;
  const auto& prepared = prepared_[static_cast<std::size_t>(recordings_->montage(recording))];
  recordings_->stretches(recording, stretches);
  std::int64_t left = index - first_window_[static_cast<std::size_t>(recording)];
  for (const auto& stretch : stretches) {
    const auto room = stretch.last - stretch.first - prepared.input_length;
    const auto n = room >= 0 ? room / prepared.stride + 1 : 0;
    if (left < n) {
      const auto start = stretch.first + left * prepared.stride;
      return {recording, start, std::min(prepared.stride - 1, stretch.last - prepared.input_length - start), stretch.first, stretch.last};
    }
    left -= n;
  }
  throw std::logic_error("a recording has fewer windows than were counted");
}

data::SampleInfo EegSource::describe(std::int64_t index) const {
  const auto at = window(index);
  const auto& prepared = prepared_[static_cast<std::size_t>(recordings_->montage(at.recording))];
  return {recordings_->subject(at.recording),
          recordings_->site(at.recording),
          recordings_->name(at.recording),
          at.recording,
          {{"start", static_cast<double>(at.start) / prepared.sfreq, "s"}, {"duration", options_.window, "s"}}};
}

// Filters rows of `length` samples and resamples them; outputs from `offset` on go to `into` [rows, output_length_].
void EegSource::process(const Prepared& prepared, const std::vector<const float*>& rows, std::int64_t length, std::int64_t offset, double* into) const {
  thread_local transforms::LaneBuffer buffer, resampled;
  std::int64_t pad = 0;
  for (const auto& filter : prepared.filters) pad = std::max(pad, transforms::padding(filter));
  Lanes* block = buffer.resize(length + 2 * pad) + pad;
  Lanes* cut = resampled.resize(output_length_);
  for (std::size_t first = 0; first < rows.size(); first += kLanes) {
    const int n = static_cast<int>(std::min<std::size_t>(kLanes, rows.size() - first));
    transforms::interleave(rows.data() + first, n, length, block);
    for (const auto& filter : prepared.filters) transforms::filter_zero_phase(filter, block, length);
    prepared.resampler->apply(block, length, offset, output_length_, cut);
    std::array<double*, kLanes> results{};
    for (int c = 0; c < n; ++c) results[static_cast<std::size_t>(c)] = into + (static_cast<std::int64_t>(first) + c) * output_length_;
    transforms::deinterleave(cut, n, output_length_, results.data());
  }
}

void EegSource::read(const Window& window, std::int64_t start, Signal& into) const {
  const auto& prepared = prepared_[static_cast<std::size_t>(recordings_->montage(window.recording))];
  const auto opened = recordings_->open(window.recording);
  const auto& recording = *opened;
  const auto& resampler = *prepared.resampler;
  // The margin in front is a whole number of resampling periods, so that the window starts on an output sample; of a period that is longer than the
  // margin, the nearest output sample is taken.
  const auto margin = static_cast<std::int64_t>(std::ceil(options_.margin * recording.sfreq())) + (resampler.is_identity() ? 0 : resampler.reach());
  const std::int64_t room = std::min(margin, start - window.first);
  const bool whole = resampler.down() <= margin;
  const std::int64_t before = whole ? room / resampler.down() * resampler.down() : room;
  const std::int64_t offset = (before * resampler.up() + resampler.down() / 2) / resampler.down();
  const std::int64_t first = start - before, last = std::min(window.last, start + prepared.input_length + margin);
  const std::int64_t length = last - first;
  const auto stored_channels = static_cast<std::int64_t>(prepared.rows.size());
  thread_local std::vector<float> stored;
  stored.resize(static_cast<std::size_t>(stored_channels * length));
  recording.read(prepared.rows, first, last, stored.data());

  // What carries no signal is left out before it can spread through a filter or into the average.
  into.usable = transforms::good_channels(stored.data(), stored_channels, length);
  std::vector<const float*> rows;
  for (std::size_t c = 0; c < into.usable.size(); ++c)
    if (into.usable[c] != 0) rows.push_back(stored.data() + static_cast<std::int64_t>(c) * length);
  std::vector<char> averaged;
  for (std::size_t c = 0; c < into.usable.size(); ++c)
    if (into.usable[c] != 0) averaged.push_back(prepared.averaged[c]);
  if (options_.average_reference && std::count(averaged.begin(), averaged.end(), 1) == 1) {  // it is its own average
    const auto alone = std::find(averaged.begin(), averaged.end(), 1) - averaged.begin();
    rows.erase(rows.begin() + alone);
    averaged.erase(averaged.begin() + alone);
    for (std::size_t c = 0; c < into.usable.size(); ++c)
      if (into.usable[c] != 0 && prepared.averaged[c] != 0) into.usable[c] = 0;
  }
  into.channels = static_cast<std::int64_t>(rows.size());
  into.values.resize(static_cast<std::size_t>(into.channels * output_length_));
  if (rows.empty()) return;
  try {
    process(prepared, rows, length, offset, into.values.data());
  } catch (const ValueError& error) {
    throw FormatError(recording.name(), "a window that can be filtered from " + std::to_string(static_cast<double>(start) / prepared.sfreq) + " s on",
                      error.what());
  }
  if (options_.average_reference) transforms::average_reference(into.values.data(), into.channels, output_length_, averaged);
}

// Over at most so many windows of the subject, evenly spread and never moved: the same for every draw.
std::shared_ptr<const MeanCovariance> EegSource::mean_covariance(std::int64_t recording) const {
  constexpr std::int64_t kWindows = 64;
  if (auto known = alignment_->find(recording)) return known;
  const auto relatives = alignment_->relatives(recording);
  std::int64_t all = 0;
  for (const auto r : relatives) all += first_window_[static_cast<std::size_t>(r) + 1] - first_window_[static_cast<std::size_t>(r)];
  const auto mean =
      std::make_shared<MeanCovariance>(static_cast<std::int64_t>(prepared_[static_cast<std::size_t>(recordings_->montage(recording))].rows.size()));
  Signal signal;
  const auto take = std::min(all, kWindows);
  std::size_t at = 0;
  std::int64_t before = 0;  // windows of the relatives in front of `at`
  for (std::int64_t k = 0; k < take; ++k) {
    const auto wanted = k * all / take;
    const auto count = [&] { return first_window_[static_cast<std::size_t>(relatives[at]) + 1] - first_window_[static_cast<std::size_t>(relatives[at])]; };
    while (wanted >= before + count()) before += count(), ++at;
    const auto window = this->window(first_window_[static_cast<std::size_t>(relatives[at])] + wanted - before);
    read(window, window.start, signal);
    if (signal.channels > 0) mean->add(signal.usable, signal.values.data(), output_length_);
  }
  mean->whole = mean->inverse_root(std::vector<char>(static_cast<std::size_t>(mean->channels), 1));
  return alignment_->keep(recording, mean);
}

void EegSource::align(std::int64_t recording, Signal& signal) const {
  const auto mean = mean_covariance(recording);
  for (std::size_t c = 0; c < signal.usable.size(); ++c) {
    if (signal.usable[c] == 0 || mean->counts[c * signal.usable.size() + c] > 0) continue;
    const auto montage = static_cast<std::size_t>(recordings_->montage(recording));
    throw FormatError(recordings_->name(recording),
                      "a signal of the subject's on channel " + quote(recordings_->montages()[montage].channels[prepared_[montage].rows[c]]) +
                          " in the windows that it is aligned by",
                      "none");
  }
  const auto root = mean->inverse_root(signal.usable);
  thread_local std::vector<double> aligned;
  aligned.assign(signal.values.size(), 0.0);
  for (std::int64_t i = 0; i < signal.channels; ++i) {
    for (std::int64_t j = 0; j < signal.channels; ++j) {
      const double weight = root[static_cast<std::size_t>(i * signal.channels + j)];
      const double* from = signal.values.data() + j * output_length_;
      double* to = aligned.data() + i * output_length_;
      for (std::int64_t t = 0; t < output_length_; ++t) to[t] += weight * from[t];
    }
  }
  signal.values.swap(aligned);
}

void EegSource::check_whole(const Window& window, std::int64_t start, const Signal& signal) const {
  const auto flat = std::find(signal.usable.begin(), signal.usable.end(), 0);
  if (flat == signal.usable.end()) return;
  const auto& prepared = prepared_[static_cast<std::size_t>(recordings_->montage(window.recording))];
  throw FormatError(recordings_->name(window.recording),
                    "a signal on channel " + quote(options_.montage[static_cast<std::size_t>(flat - signal.usable.begin())]) + " of the montage from " +
                        std::to_string(static_cast<double>(start) / prepared.sfreq) + " s on",
                    "a flat or non-finite one");
}

data::Sample EegSource::sample(std::int64_t index, const Draw& draw) const {
  const auto window = this->window(index);
  const auto& prepared = prepared_[static_cast<std::size_t>(recordings_->montage(window.recording))];
  std::int64_t start = window.start;
  if (options_.jitter && window.slack > 0) {
    Philox random(draw, Stream::kWindow);
    start += random.below(static_cast<std::uint32_t>(std::min<std::int64_t>(window.slack + 1, std::numeric_limits<std::uint32_t>::max())));
  }
  thread_local Signal signal;
  read(window, start, signal);
  if (signal.channels == 0)
    throw FormatError(recordings_->name(window.recording),
                      std::string("a signal on at least ") + (options_.average_reference ? "two channels, for their average," : "one channel") + " from " +
                          std::to_string(static_cast<double>(start) / prepared.sfreq) + " s on",
                      "only flat or non-finite ones");
  if (!options_.montage.empty()) check_whole(window, start, signal);
  data::ChannelSpace space{options_.sfreq, {}, {}};
  for (std::size_t c = 0; c < signal.usable.size(); ++c) {
    if (signal.usable[c] == 0) continue;
    space.positions.push_back(prepared.space.positions[c]);
    space.extra.push_back(prepared.space.extra[c]);
  }
  if (alignment_) align(window.recording, signal);
  const std::vector<char> good(static_cast<std::size_t>(signal.channels), 1);
  transforms::scale_channels(signal.values.data(), signal.channels, output_length_, good, options_.scaling, options_.clip, options_.unit);
  data::Sample sample;
  sample.arrays.push_back(
      {options_.modality, {signal.channels, output_length_}, std::vector<float>(signal.values.begin(), signal.values.end()), std::move(space)});
  for (const auto& [name, column] : targets_) sample.targets[name] = column[static_cast<std::size_t>(window.recording)];
  return sample;
}

}  // namespace sslmed::eeg
