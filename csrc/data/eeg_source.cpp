#include "data/eeg_source.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "core/error.h"
#include "transforms/lanes.h"
#include "transforms/montage.h"

namespace sslmed::data {

EegSource::EegSource(std::vector<RecordingEntry> entries, const EegOptions& options, std::vector<std::string> extra_channels)
    : options_(options), output_length_(std::llround(options.window * options.sfreq)) {
  if (!(options.sfreq > 0) || !(options.window > 0) || output_length_ < 2 || options.stride < 0 || options.margin < 0 || options.clip < 0)
    throw ValueError("EEG windows need a positive rate and length, and no negative stride, margin or clip");
  std::map<double, std::shared_ptr<const transforms::Resampler>> resamplers;
  for (auto& entry : entries) {
    Prepared prepared = prepare(std::move(entry), extra_channels);
    auto& resampler = resamplers[prepared.entry.recording->sfreq()];
    if (!resampler) resampler = std::make_shared<const transforms::Resampler>(transforms::Resampler::between(prepared.entry.recording->sfreq(), options.sfreq));
    prepared.resampler = resampler;
    prepared.input_length = (output_length_ * resampler->down() + resampler->up() - 1) / resampler->up();
    const auto stride = std::max<std::int64_t>(1, std::llround((options.stride > 0 ? options.stride : options.window) * prepared.entry.recording->sfreq()));
    for (const auto& stretch : prepared.entry.recording->stretches()) {
      for (std::int64_t start = stretch.first; start + prepared.input_length <= stretch.last; start += stride) {
        const std::int64_t slack = std::min(stride - 1, stretch.last - prepared.input_length - start);
        windows_.push_back({static_cast<std::int32_t>(prepared_.size()), start, slack, stretch.first, stretch.last});
      }
    }
    prepared_.push_back(std::move(prepared));
  }
  // One line a name: a large cohort has the same trigger channel ten thousand times.
  for (const auto& [name, seen] : left_out_)
    notes_.push_back(seen.second + ": channel " + quote(name) + " has no known position and is left out" +
                     (seen.first > 1 ? ", here and in " + std::to_string(seen.first - 1) + " other recordings" : ""));
  if (windows_.empty()) throw ValueError("no recording holds a window of " + std::to_string(options.window) + " s");
}

EegSource::Prepared EegSource::prepare(RecordingEntry entry, const std::vector<std::string>& extra) {
  Prepared prepared;
  const auto& recording = *entry.recording;
  const float unknown = std::numeric_limits<float>::quiet_NaN();
  for (std::size_t i = 0; i < recording.channels().size(); ++i) {
    const std::string& name = recording.channels()[i];
    if (const auto place = transforms::electrode_position(name)) {
      prepared.space.positions.push_back({static_cast<float>((*place)[0]), static_cast<float>((*place)[1]), static_cast<float>((*place)[2])});
      prepared.space.extra.push_back(-1);
    } else if (const auto found = std::find(extra.begin(), extra.end(), name); found != extra.end()) {
      prepared.space.positions.push_back({unknown, unknown, unknown});
      prepared.space.extra.push_back(static_cast<std::int32_t>(found - extra.begin()));
    } else {
      ++left_out_.try_emplace(name, 0, recording.name()).first->second.first;
      continue;
    }
    prepared.rows.push_back(i);
  }
  if (prepared.rows.empty())
    throw FormatError(recording.name(), "at least one channel with a known position", "none of " + std::to_string(recording.channels().size()));
  prepared.space.sfreq = options_.sfreq;
  const double nyquist = recording.sfreq() / 2;
  // A recording slower than the pass band has nothing above its Nyquist rate; the upper edge is then left to its own filter.
  const double high = options_.high > 0 && options_.high < 0.98 * nyquist ? options_.high : 0;
  if (options_.low > 0 || high > 0) prepared.filters.push_back(transforms::butterworth(options_.order, options_.low, high, recording.sfreq()));
  if (options_.notch > 0 && options_.notch < 0.98 * nyquist) prepared.filters.push_back(transforms::notch(options_.notch, 30, recording.sfreq()));
  prepared.entry = std::move(entry);
  return prepared;
}

SampleInfo EegSource::describe(std::int64_t index) const {
  if (index < 0 || index >= size()) throw ValueError("window " + std::to_string(index) + " of " + std::to_string(size()));
  const auto& window = windows_[static_cast<std::size_t>(index)];
  const auto& prepared = prepared_[static_cast<std::size_t>(window.recording)];
  return {prepared.entry.subject,
          prepared.entry.site,
          prepared.entry.recording->name(),
          window.recording,
          static_cast<double>(window.start) / prepared.entry.recording->sfreq(),
          options_.window};
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

Sample EegSource::sample(std::int64_t index, const Draw& draw) const {
  if (index < 0 || index >= size()) throw ValueError("window " + std::to_string(index) + " of " + std::to_string(size()));
  const auto& window = windows_[static_cast<std::size_t>(index)];
  const auto& prepared = prepared_[static_cast<std::size_t>(window.recording)];
  const auto& recording = *prepared.entry.recording;
  const auto& resampler = *prepared.resampler;
  std::int64_t start = window.start;
  if (options_.jitter && window.slack > 0) {
    Philox random(draw, Stream::kWindow);
    start += random.below(static_cast<std::uint32_t>(std::min<std::int64_t>(window.slack + 1, std::numeric_limits<std::uint32_t>::max())));
  }
  // The margin in front is a whole number of resampling periods, so that the window starts on an output sample.
  const auto margin = static_cast<std::int64_t>(std::ceil(options_.margin * recording.sfreq())) + (resampler.is_identity() ? 0 : resampler.reach());
  const std::int64_t periods = std::min(margin, start - window.first) / resampler.down();
  const std::int64_t first = start - periods * resampler.down(), last = std::min(window.last, start + prepared.input_length + margin);
  const std::int64_t length = last - first;
  const auto stored_channels = static_cast<std::int64_t>(prepared.rows.size());
  thread_local std::vector<float> stored;
  thread_local std::vector<double> signal;
  stored.resize(static_cast<std::size_t>(stored_channels * length));
  recording.read(prepared.rows, first, last, stored.data());

  // What carries no signal is left out before it can spread through a filter or into the average.
  const auto usable = transforms::good_channels(stored.data(), stored_channels, length);
  Sample sample;
  sample.space.sfreq = options_.sfreq;
  std::vector<const float*> rows;
  for (std::size_t c = 0; c < usable.size(); ++c) {
    if (usable[c] == 0) continue;
    rows.push_back(stored.data() + static_cast<std::int64_t>(c) * length);
    sample.space.positions.push_back(prepared.space.positions[c]);
    sample.space.extra.push_back(prepared.space.extra[c]);
  }
  if (rows.empty())
    throw FormatError(recording.name(), "a signal on at least one channel from " + std::to_string(static_cast<double>(start) / recording.sfreq()) + " s on",
                      "only flat or non-finite ones");
  const auto channels = static_cast<std::int64_t>(rows.size());
  signal.resize(static_cast<std::size_t>(channels * output_length_));
  process(prepared, rows, length, periods * resampler.up(), signal.data());
  const std::vector<char> good(rows.size(), 1);
  if (options_.average_reference) transforms::average_reference(signal.data(), channels, output_length_, good);
  transforms::scale_channels(signal.data(), channels, output_length_, good, options_.scaling, options_.clip);
  sample.values.assign(signal.begin(), signal.end());
  sample.shape = {channels, output_length_};
  return sample;
}

}  // namespace sslmed::data
