#include "modalities/eeg/recording_list.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace sslmed::eeg {
namespace {

class OpenList : public RecordingList {
 public:
  explicit OpenList(std::vector<RecordingEntry> entries) : entries_(std::move(entries)) {
    std::map<Montage, std::int32_t> montages;
    std::map<std::string, std::int32_t> subjects;
    for (const auto& entry : entries_) {
      const Montage montage{entry.recording->sfreq(), entry.recording->channels(), entry.positions};
      const auto [at, is_new] = montages.try_emplace(montage, static_cast<std::int32_t>(montages.size()));
      if (is_new) montages_.push_back(montage);
      codes_.push_back({at->second, subjects.try_emplace(entry.subject, static_cast<std::int32_t>(subjects.size())).first->second});
    }
  }
  std::int64_t size() const override { return static_cast<std::int64_t>(entries_.size()); }
  const std::vector<Montage>& montages() const override { return montages_; }
  std::int32_t montage(std::int64_t i) const override { return codes_[static_cast<std::size_t>(i)].first; }
  std::int32_t subject_code(std::int64_t i) const override { return codes_[static_cast<std::size_t>(i)].second; }
  std::string name(std::int64_t i) const override { return entry(i).recording->name(); }
  std::string subject(std::int64_t i) const override { return entry(i).subject; }
  std::string site(std::int64_t i) const override { return entry(i).site; }
  void stretches(std::int64_t i, std::vector<Stretch>& into) const override { into = entry(i).recording->stretches(); }
  std::shared_ptr<const Recording> open(std::int64_t i) const override { return entry(i).recording; }

 private:
  const RecordingEntry& entry(std::int64_t i) const { return entries_[static_cast<std::size_t>(i)]; }
  std::vector<RecordingEntry> entries_;
  std::vector<std::pair<std::int32_t, std::int32_t>> codes_;
  std::vector<Montage> montages_;
};

std::int64_t total(const std::vector<Stretch>& stretches) {
  std::int64_t samples = 0;
  for (const auto& stretch : stretches) samples += stretch.last - stretch.first;
  return samples;
}

bool are_within(const std::vector<Stretch>& parts, const std::vector<Stretch>& whole) {
  return std::all_of(parts.begin(), parts.end(), [&](const Stretch& part) {
    return std::any_of(whole.begin(), whole.end(), [&](const Stretch& one) { return one.first <= part.first && part.last <= one.last; });
  });
}

std::string describe(const Montage& montage, std::int64_t samples) {
  return std::to_string(montage.channels.size()) + " channels (" + (montage.channels.empty() ? "" : montage.channels.front()) + " …) at " +
         std::to_string(montage.sfreq) + " Hz with " + std::to_string(samples) + " samples";
}

// Whether an index's stretches are those of a recording, but for gaps in which no channel changes.
bool is_described(const Recording& recording, const std::vector<Stretch>& expected) {
  if (recording.stretches() == expected) return true;
  return only_flat_between(
      recording.stretches(), expected, recording.channels().size(),
      [&](const std::vector<std::size_t>& channels, std::int64_t first, std::int64_t last, float* into) { recording.read(channels, first, last, into); });
}

class IndexedList : public RecordingList {
 public:
  explicit IndexedList(RecordingIndex index) : index_(std::move(index)), shared_(std::make_shared<FileCache>()), open_(256) {
    const auto n = index_.samples.size();
    index_.origins.check(n);
    if (index_.montage_codes.size() != n || std::any_of(index_.montage_codes.begin(), index_.montage_codes.end(), [&](std::int32_t code) {
          return code < 0 || static_cast<std::size_t>(code) >= index_.montages.size();
        }))
      throw ValueError("an index needs a montage for each of its " + std::to_string(n) + " recordings");
    const auto& codes = index_.unit_codes;
    if (!codes.empty() && (codes.size() != n || std::any_of(codes.begin(), codes.end(), [&](std::int32_t code) {
                             return code < -1 || code >= static_cast<std::int32_t>(index_.units.size());
                           })))
      throw ValueError("an index needs a code of units for each of its " + std::to_string(n) + " recordings");
    for (std::size_t i = 0; i < n; ++i)
      if (index_.samples[i] < 0)
        throw ValueError(index_.origins.paths.at(static_cast<std::int64_t>(i)) + ": an index with " + std::to_string(index_.samples[i]) + " samples");
    for (const auto& montage : index_.montages)
      if (montage.channels.empty() || !(montage.sfreq > 0)) throw ValueError("an index has a montage without channels or without a sampling rate");
    for (const auto& [i, stretches] : index_.gappy) {
      std::int64_t end = 0;
      for (const auto& stretch : stretches) {
        if (stretch.first < end || stretch.last <= stretch.first) throw ValueError(index_.origins.paths.at(i) + ": an index whose stretches are not in order");
        end = stretch.last;
      }
    }
  }
  std::int64_t size() const override { return static_cast<std::int64_t>(index_.samples.size()); }
  const std::vector<Montage>& montages() const override { return index_.montages; }
  std::int32_t montage(std::int64_t i) const override { return index_.montage_codes[static_cast<std::size_t>(i)]; }
  std::int32_t subject_code(std::int64_t i) const override { return index_.origins.subject_codes[static_cast<std::size_t>(i)]; }
  std::string name(std::int64_t i) const override { return index_.origins.paths.at(i); }
  std::string subject(std::int64_t i) const override { return index_.origins.subjects.at(subject_code(i)); }
  std::string site(std::int64_t i) const override {
    return index_.origins.sites[static_cast<std::size_t>(index_.origins.site_codes[static_cast<std::size_t>(i)])];
  }
  void stretches(std::int64_t i, std::vector<Stretch>& into) const override {
    if (const auto found = index_.gappy.find(i); found != index_.gappy.end()) {
      into = found->second;
    } else {
      into.assign(1, {0, index_.samples[static_cast<std::size_t>(i)]});
    }
  }
  std::shared_ptr<const Recording> open(std::int64_t i) const override {
    return open_.get(i, [&]() -> std::shared_ptr<const Recording> {
      std::vector<std::string> notes;  // told when the index was made
      const auto cache = index_.parts ? shared_ : std::make_shared<FileCache>(1);
      const auto& montage = index_.montages[static_cast<std::size_t>(index_.montage_codes[static_cast<std::size_t>(i)])];
      ChannelChoice choice;
      if (!index_.unit_codes.empty())
        if (const auto code = index_.unit_codes[static_cast<std::size_t>(i)]; code >= 0) choice.units = index_.units[static_cast<std::size_t>(code)];
      // Some of its channels may have been chosen when the index was made; by themselves they may be none that are read.
      std::shared_ptr<const Recording> recording;
      if (index_.parts) {
        choice.use = montage.channels;
      } else {
        recording = open_recording(name(i), cache, notes, choice, Spans::kStored);
        if (recording->channels() != montage.channels) choice.use = montage.channels, recording = nullptr;
      }
      if (!recording) recording = open_recording(name(i), cache, notes, choice, Spans::kStored);
      std::vector<Stretch> expected;
      stretches(i, expected);
      // Most files have no annotated spans, and all annotations of an EDF+ file are many reads.
      if (!index_.parts && recording->stretches() != expected) recording = open_recording(name(i), cache, notes, choice, Spans::kUsable, 0);
      const Montage found{recording->sfreq(), recording->channels(), montage.positions};
      if (found != montage || !(index_.parts ? are_within(expected, recording->stretches()) : is_described(*recording, expected)))
        throw FormatError(name(i), describe(montage, total(expected)) + ", as the index says", describe(found, total(recording->stretches())));
      return recording;
    });
  }

 private:
  RecordingIndex index_;
  std::shared_ptr<FileCache> shared_;  // of rows that are parts of the same files
  mutable Lru<std::int64_t, Recording> open_;
};

}  // namespace

std::shared_ptr<const RecordingList> open_list(std::vector<RecordingEntry> entries) { return std::make_shared<OpenList>(std::move(entries)); }

std::shared_ptr<const RecordingList> indexed_list(RecordingIndex index) { return std::make_shared<IndexedList>(std::move(index)); }

}  // namespace sslmed::eeg
