// What a source of EEG is checked for and prepares before its first window: options, channels, filters, counts.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <sstream>
#include <utility>

#include "core/error.h"
#include "modalities/eeg/eeg_source.h"
#include "transforms/montage.h"

namespace sslmed::eeg {
namespace {

std::string decimal(double value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

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
  check_options();
  prepare_all(extra_channels);
  count_windows();
  if (options_.align) alignment_ = std::make_unique<Alignment>(*recordings_);
}

void EegSource::check_options() const {
  require(options_.sfreq > 0, "sfreq", options_.sfreq, "Hz must be positive");
  require(options_.window > 0 && output_length_ >= 2, "window", options_.window, "s must hold at least two samples");
  require(options_.l_freq >= 0, "l_freq", options_.l_freq, "Hz must not be negative");
  require(options_.h_freq == 0 || options_.h_freq > options_.l_freq, "h_freq", options_.h_freq, "Hz must be 0 (none) or above l_freq");
  require(options_.order >= 1 && options_.order <= 16, "order", options_.order, "must be within 1 and 16");
  require(options_.notch >= 0, "notch", options_.notch, "Hz must not be negative");
  require(options_.stride >= 0, "stride", options_.stride, "s must not be negative");
  require(options_.margin >= 0, "margin", options_.margin, "s must not be negative");
  require(options_.clip >= 0, "clip", options_.clip, "must not be negative");
  require(options_.unit > 0, "unit", options_.unit, "µV must be positive");
  require(options_.flat_gap >= 0, "flat_gap", options_.flat_gap, "s must not be negative");
}

void EegSource::prepare_all(const std::vector<std::string>& extra_channels) {
  std::vector<std::vector<std::string>> left_out;
  const auto& montages = recordings_->montages();
  for (std::size_t m = 0; m < montages.size(); ++m) {
    try {
      prepared_.push_back(prepare(montages[m], extra_channels, left_out.emplace_back()));
    } catch (const ValueError& error) {
      std::int64_t first = 0;
      while (first + 1 < recordings_->size() && recordings_->montage(first) != static_cast<std::int32_t>(m)) ++first;
      throw ValueError(recordings_->name(first) + ": " + error.what());
    }
  }
  note_left_out(left_out);
}

void EegSource::count_windows() {
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
  if (first_window_.back() == 0) refuse_short();
  if (shorter > 0)
    notes_.push_back(recordings_->name(first_shorter) + ": has no stretch of a window's " + std::to_string(options_.window) + " s and takes no part" +
                     (shorter > 1 ? ", as " + std::to_string(shorter - 1) + " other recordings of " + std::to_string(n) : ""));
}

void EegSource::refuse_short() const {
  std::vector<Stretch> stretches;
  double longest = 0;
  std::int64_t whose = 0;
  for (std::int64_t i = 0; i < recordings_->size(); ++i) {
    recordings_->stretches(i, stretches);
    for (const auto& stretch : stretches)
      if (const double length = static_cast<double>(stretch.last - stretch.first) / prepared_[static_cast<std::size_t>(recordings_->montage(i))].sfreq;
          length > longest)
        longest = length, whose = i;
  }
  throw ValueError("no recording holds a window of " + decimal(options_.window) + " s; the longest stretch without a gap is " + decimal(longest) + " s" +
                   (recordings_->size() > 0 ? ", of " + recordings_->name(whose) : ""));
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
  if (options_.l_freq >= nyquist)
    throw ValueError("l_freq=" + decimal(options_.l_freq) + " Hz must be below half the recording's sampling rate of " + decimal(montage.sfreq) +
                     " Hz; set a lower l_freq (0: none), or leave the recording out");
  // A recording slower than the pass band has nothing above its Nyquist rate; the upper edge is then left to its own filter.
  const double high = options_.h_freq > 0 && options_.h_freq < 0.98 * nyquist ? options_.h_freq : 0;
  if (options_.l_freq > 0 || high > 0) prepared.filters.push_back(transforms::butterworth(options_.order, options_.l_freq, high, montage.sfreq));
  if (options_.notch > 0 && options_.notch < 0.98 * nyquist) prepared.filters.push_back(transforms::notch(options_.notch, 30, montage.sfreq));
  prepared.resampler = std::make_shared<const transforms::Resampler>(transforms::Resampler::between(montage.sfreq, options_.sfreq));
  prepared.input_length = (output_length_ * prepared.resampler->down() + prepared.resampler->up() - 1) / prepared.resampler->up();
  prepared.stride = std::max<std::int64_t>(1, std::llround((options_.stride > 0 ? options_.stride : options_.window) * montage.sfreq));
  std::int64_t needed = 0;
  for (const auto& filter : prepared.filters) needed = std::max(needed, transforms::padding(filter));
  const auto longest = prepared.input_length + 2 * (static_cast<std::int64_t>(std::ceil(options_.margin * montage.sfreq)) + prepared.resampler->reach());
  if (longest <= needed)
    throw ValueError("window=" + decimal(options_.window) + " s with margins are " + std::to_string(longest) + " samples at the recording's " +
                     decimal(montage.sfreq) + " Hz, but the filter needs more than " + std::to_string(needed) +
                     "; take longer windows or a lower order, or leave the recording out");
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

}  // namespace sslmed::eeg
