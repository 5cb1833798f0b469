#include "data/joined.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace sslmed::data {

JoinedSource::JoinedSource(std::vector<std::shared_ptr<const Source>> sources, std::vector<std::int32_t> part_of)
    : sources_(std::move(sources)), part_of_(std::move(part_of)), first_{0} {
  if (sources_.empty()) throw ValueError("JoinedSource: sources must hold at least one source");
  std::vector<std::vector<std::int64_t>> theirs;
  for (const auto& source : sources_) theirs.push_back(source->first_samples());
  std::vector<std::size_t> next(sources_.size(), 0);
  for (std::size_t r = 0; r < part_of_.size(); ++r) {
    if (part_of_[r] < 0 || static_cast<std::size_t>(part_of_[r]) >= sources_.size())
      throw ValueError("JoinedSource: recording " + std::to_string(r) + " is of source " + std::to_string(part_of_[r]) + ", expected 0 to " +
                       std::to_string(sources_.size() - 1));
    const auto part = static_cast<std::size_t>(part_of_[r]);
    const auto i = next[part]++;
    if (i + 1 >= theirs[part].size())
      throw ValueError("JoinedSource: part_of names more recordings of source " + std::to_string(part) + " than its " +
                       std::to_string(theirs[part].size() - 1));
    first_there_.push_back(theirs[part][i]);
    first_.push_back(first_.back() + theirs[part][i + 1] - theirs[part][i]);
  }
  for (std::size_t part = 0; part < sources_.size(); ++part)
    if (next[part] + 1 != theirs[part].size())
      throw ValueError("JoinedSource: part_of names " + std::to_string(next[part]) + " recordings of source " + std::to_string(part) + ", which has " +
                       std::to_string(theirs[part].size() - 1));
  if (first_.back() == 0) throw ValueError("JoinedSource: the sources hold no sample");
}

JoinedSource::Found JoinedSource::find(std::int64_t index) const {
  if (index < 0 || index >= size()) throw ValueError("sample " + std::to_string(index) + " of " + std::to_string(size()));
  const auto r = std::upper_bound(first_.begin(), first_.end(), index) - first_.begin() - 1;
  const auto i = static_cast<std::size_t>(r);
  return {*sources_[static_cast<std::size_t>(part_of_[i])], r, first_there_[i] + index - first_[i]};
}

SampleInfo JoinedSource::describe(std::int64_t index) const {
  const auto found = find(index);
  auto info = found.source.describe(found.index);
  info.recording = found.recording;
  return info;
}

Sample JoinedSource::sample(std::int64_t index, const Draw& draw) const {
  const auto found = find(index);
  return found.source.sample(found.index, draw);
}

JoinedRecipe::JoinedRecipe(std::map<std::string, std::shared_ptr<const Recipe>> by_modality) : by_modality_(std::move(by_modality)) {
  if (by_modality_.empty()) throw ValueError("JoinedRecipe: needs a recipe at least");
}

std::vector<View> JoinedRecipe::make(Sample sample, const Draw& draw) const {
  if (sample.arrays.empty()) throw ValueError("JoinedRecipe: a sample without an array");
  const auto& modality = sample.arrays.front().modality;
  for (const auto& array : sample.arrays)
    if (array.modality != modality) throw ValueError("JoinedRecipe: a sample of several modalities, '" + modality + "' and '" + array.modality + "'");
  const auto found = by_modality_.find(modality);
  if (found == by_modality_.end()) throw ValueError("JoinedRecipe: no recipe for the modality '" + modality + "'");
  return found->second->make(std::move(sample), draw);
}

}  // namespace sslmed::data
