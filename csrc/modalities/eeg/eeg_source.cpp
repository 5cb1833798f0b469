#include "modalities/eeg/eeg_source.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <stdexcept>
#include <utility>

#include "core/error.h"
#include "transforms/lanes.h"
#include "transforms/montage.h"

namespace sslmed::eeg {
namespace {

// What a recording has instead of electrodes, and what can be done.
std::string unplaced(const std::vector<std::string>& labels) {
  const auto channels = recognize(labels);
  const auto is = [&](ChannelKind kind) { return std::count_if(channels.begin(), channels.end(), [&](const Channel& c) { return c.kind == kind; }); };
  std::string text = "none of " + std::to_string(labels.size()) + " (" + quote(labels.front());
  if (labels.size() > 1) text += ", " + quote(labels[1]);
  text += labels.size() > 2 ? " …)" : ")";
  if (labels.front().rfind("BioSemi ", 0) == 0) text += "; A1, B1 … are BioSemi's own names, rename them to those of the 10-05 system";
  if (is(ChannelKind::kDerivation) > 0) text += "; " + std::to_string(is(ChannelKind::kDerivation)) + " are bipolar derivations";
  return text + "; channels without a position need learned ones (extra_channels=)";
}

}  // namespace

EegSource::EegSource(std::shared_ptr<const RecordingList> recordings, const EegOptions& options, const std::vector<std::string>& extra_channels,
                     std::map<std::string, std::vector<double>> targets)
    : options_(options), output_length_(std::llround(options.window * options.sfreq)), recordings_(std::move(recordings)), targets_(std::move(targets)) {
  for (const auto& [name, column] : targets_)
    if (static_cast<std::int64_t>(column.size()) != recordings_->size())
      throw ValueError("targets: " + quote(name) + " has " + std::to_string(column.size()) + " values, expected one for each of " +
                       std::to_string(recordings_->size()) + " recordings");
  require(options.sfreq > 0, "sfreq", options.sfreq, "Hz must be positive");
  require(options.window > 0 && output_length_ >= 2, "window", options.window, "s must hold at least two samples");
  require(options.l_freq >= 0, "l_freq", options.l_freq, "Hz must not be negative");
  require(options.h_freq == 0 || options.h_freq > options.l_freq, "h_freq", options.h_freq, "Hz must be 0 (none) or above l_freq");
  require(options.stride >= 0, "stride", options.stride, "s must not be negative");
  require(options.margin >= 0, "margin", options.margin, "s must not be negative");
  require(options.clip >= 0, "clip", options.clip, "must not be negative");
  require(options.unit > 0, "unit", options.unit, "µV must be positive");
  std::vector<std::vector<std::string>> left_out;
  for (const auto& montage : recordings_->montages()) prepared_.push_back(prepare(montage, extra_channels, left_out.emplace_back()));
  note_left_out(left_out);
  const auto n = recordings_->size();
  first_window_.reserve(static_cast<std::size_t>(n) + 1);
  first_window_.push_back(0);
  std::int64_t shorter = 0, first_shorter = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    if (const auto& prepared = prepared_[static_cast<std::size_t>(recordings_->montage(i))]; !prepared.missing.empty())
      throw ValueError(recordings_->name(i) + ": montage: channel " + quote(prepared.missing) + " is missing");
    else if (prepared.rows.empty())
      throw FormatError(recordings_->name(i), "at least one channel with a known position",
                        unplaced(recordings_->montages()[static_cast<std::size_t>(recordings_->montage(i))].channels));
    else if (options_.average_reference && std::count(prepared.averaged.begin(), prepared.averaged.end(), 1) == 1)
      throw ValueError(recordings_->name(i) +
                       ": has one channel with a known position, which an average reference would take away; switch it off (average_reference=False)");
    const auto windows = windows_of(i);
    if (windows == 0 && shorter++ == 0) first_shorter = i;
    first_window_.push_back(first_window_.back() + windows);
  }
  if (first_window_.back() == 0) throw ValueError("no recording holds a window of " + std::to_string(options.window) + " s");
  if (shorter > 0)
    notes_.push_back(recordings_->name(first_shorter) + ": has no stretch of a window's " + std::to_string(options.window) + " s and takes no part" +
                     (shorter > 1 ? ", as " + std::to_string(shorter - 1) + " other recordings of " + std::to_string(n) : ""));
  if (options_.align) alignment_ = std::make_unique<Alignment>(*recordings_);
}

namespace {

// The number of a channel in the encoder's table, by its label, or as a derivation in any spelling; -1: none.
std::int32_t extra_number(const std::vector<std::string>& extra, const std::string& label, const Channel& channel) {
  auto found = std::find(extra.begin(), extra.end(), label);
  if (found == extra.end() && channel.kind == ChannelKind::kDerivation)
    found = std::find_if(extra.begin(), extra.end(), [&](const std::string& name) { return derivation_name(name) == channel.name; });
  return found == extra.end() ? -1 : static_cast<std::int32_t>(found - extra.begin());
}

// The place in the head that was measured of a channel; none of differences.
std::optional<std::array<double, 3>> measured(const Montage& montage, const std::string& label, const Channel& channel) {
  if (montage.positions.empty() || channel.kind == ChannelKind::kDerivation) return std::nullopt;
  constexpr const char* kBioSemi = "BioSemi ";
  for (const auto& name : {label, channel.name, label.rfind(kBioSemi, 0) == 0 ? label.substr(std::strlen(kBioSemi)) : label})
    if (const auto found = montage.positions.find(name); found != montage.positions.end()) return found->second;
  return std::nullopt;
}

// The average reference is one of electrodes of known places, or of all single ones where there are not two of those; never of differences.
std::vector<char> averaged_channels(const std::vector<Channel>& channels, const std::vector<std::size_t>& rows,
                                    const std::vector<std::array<float, 3>>& positions) {
  const auto is_placed = [&](std::size_t row) { return channels[rows[row]].kind != ChannelKind::kDerivation && !std::isnan(positions[row][0]); };
  std::int64_t placed = 0;
  for (std::size_t row = 0; row < rows.size(); ++row) placed += is_placed(row) ? 1 : 0;
  std::vector<char> averaged;
  for (std::size_t row = 0; row < rows.size(); ++row)
    averaged.push_back(static_cast<char>(is_placed(row) || (placed < 2 && channels[rows[row]].kind == ChannelKind::kUnplaced)));
  return averaged;
}

}  // namespace

// Channels with a place in the head, or in the encoder's table.
void EegSource::place_channels(const Montage& montage, const std::vector<std::string>& extra, std::vector<std::string>& left_out, Prepared& into) const {
  const float unknown = std::numeric_limits<float>::quiet_NaN();
  const auto channels = recognize(montage.channels);
  std::vector<SignalHead> heads;
  for (const auto& label : montage.channels) heads.push_back({label, "uV", montage.sfreq, true});
  const auto uses = choose_channels(heads, options_.choice);
  for (std::size_t i = 0; i < montage.channels.size(); ++i) {
    if (uses[i].by_choice) continue;
    const std::string& label = montage.channels[i];
    const auto& channel = channels[i];
    const auto number = extra_number(extra, label, channel);
    const auto own = measured(montage, label, channel);
    const bool has_place = channel.kind == ChannelKind::kElectrode || own.has_value();
    if (options_.montage.empty() && channel.repeated && (has_place || number >= 0)) {
      left_out.push_back(quote(label) + " repeats " + channel.name + " of another channel");
      continue;
    }
    if (has_place) {
      const auto place = own ? *own : *transforms::electrode_position(channel.name);
      into.space.positions.push_back({static_cast<float>(place[0]), static_cast<float>(place[1]), static_cast<float>(place[2])});
      into.space.extra.push_back(-1);
    } else if (number >= 0 || !options_.montage.empty()) {
      into.space.positions.push_back({unknown, unknown, unknown});
      into.space.extra.push_back(number);
    } else {
      left_out.push_back(quote(label) + (channel.kind == ChannelKind::kDerivation ? " is a bipolar derivation, which has" : " has") + " no known position");
      continue;
    }
    into.rows.push_back(i);
  }
  into.averaged = averaged_channels(channels, into.rows, into.space.positions);
}

// Of all channels those of options_.montage, in its order.
void EegSource::choose_montage(const Montage& montage, const std::vector<std::string>& extra, Prepared& into) const {
  Prepared all;
  std::vector<std::string> left_out;
  place_channels(montage, extra, left_out, all);
  const auto channels = recognize(montage.channels);
  for (const auto& wanted : options_.montage) {
    const auto standard = transforms::standard_name(wanted);
    const auto derivation = derivation_name(wanted);
    const auto found = std::find_if(all.rows.begin(), all.rows.end(), [&](std::size_t i) {
      if (montage.channels[i] == wanted) return true;
      if (channels[i].kind == ChannelKind::kElectrode) return standard == channels[i].name;
      return channels[i].kind == ChannelKind::kDerivation && derivation == channels[i].name;
    });
    if (found == all.rows.end()) {
      into.missing = wanted;
      return;
    }
    const auto at = static_cast<std::size_t>(found - all.rows.begin());
    into.rows.push_back(*found);
    into.space.positions.push_back(all.space.positions[at]);
    into.space.extra.push_back(all.space.extra[at]);
  }
  into.averaged = averaged_channels(channels, into.rows, into.space.positions);
}

EegSource::Prepared EegSource::prepare(const Montage& montage, const std::vector<std::string>& extra, std::vector<std::string>& left_out) const {
  Prepared prepared;
  if (options_.montage.empty()) {
    place_channels(montage, extra, left_out, prepared);
  } else {
    choose_montage(montage, extra, prepared);
  }
  prepared.sfreq = montage.sfreq;
  prepared.space.sfreq = options_.sfreq;
  const double nyquist = montage.sfreq / 2;
  // A recording slower than the pass band has nothing above its Nyquist rate; the upper edge is then left to its own filter.
  const double high = options_.h_freq > 0 && options_.h_freq < 0.98 * nyquist ? options_.h_freq : 0;
  if (options_.l_freq > 0 || high > 0) prepared.filters.push_back(transforms::butterworth(options_.order, options_.l_freq, high, montage.sfreq));
  if (options_.notch > 0 && options_.notch < 0.98 * nyquist) prepared.filters.push_back(transforms::notch(options_.notch, 30, montage.sfreq));
  prepared.resampler = std::make_shared<const transforms::Resampler>(transforms::Resampler::between(montage.sfreq, options_.sfreq));
  prepared.input_length = (output_length_ * prepared.resampler->down() + prepared.resampler->up() - 1) / prepared.resampler->up();
  prepared.stride = std::max<std::int64_t>(1, std::llround((options_.stride > 0 ? options_.stride : options_.window) * montage.sfreq));
  return prepared;
}

// One line a name: a large cohort has the same trigger channel ten thousand times.
void EegSource::note_left_out(const std::vector<std::vector<std::string>>& left_out) {
  if (std::all_of(left_out.begin(), left_out.end(), [](const auto& names) { return names.empty(); })) return;
  std::map<std::string, std::pair<std::int64_t, std::int64_t>> seen;  // how often, and where first
  for (std::int64_t i = 0; i < recordings_->size(); ++i)
    for (const auto& name : left_out[static_cast<std::size_t>(recordings_->montage(i))]) ++seen.try_emplace(name, 0, i).first->second.first;
  for (const auto& [name, where] : seen)
    notes_.push_back(recordings_->name(where.second) + ": channel " + name + " and is left out" +
                     (where.first > 1 ? ", here and in " + std::to_string(where.first - 1) + " other recordings" : ""));
}

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
  process(prepared, rows, length, offset, into.values.data());
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
