#include "data/array_source.h"

#include <numeric>
#include <utility>

#include "core/error.h"

namespace sslmed::data {
namespace {

std::int64_t count_of(const std::vector<std::int64_t>& shape) { return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>()); }

}  // namespace

ArraySource::ArraySource(std::string modality, std::vector<ArrayEntry> entries) : modality_(std::move(modality)), entries_(std::move(entries)) {
  if (entries_.empty()) throw ValueError("ArraySource: entries must hold at least one array");
  for (const auto& entry : entries_) {
    if (entry.shape.size() < 2 || count_of(entry.shape) < 1) throw ValueError(entry.name + ": values must be [spatial…, channels], and not empty");
    if (entry.spacing.size() + 1 != entry.shape.size())
      throw ValueError(entry.name + ": spacing has " + std::to_string(entry.spacing.size()) + " axes, expected " + std::to_string(entry.shape.size() - 1));
  }
}

const ArrayEntry& ArraySource::entry(std::int64_t index) const {
  if (index < 0 || index >= size()) throw ValueError("sample " + std::to_string(index) + " of " + std::to_string(size()));
  return entries_[static_cast<std::size_t>(index)];
}

SampleInfo ArraySource::describe(std::int64_t index) const {
  const auto& from = entry(index);
  return {from.subject, from.site, from.name, index, {}};
}

std::vector<std::int64_t> ArraySource::first_samples() const {
  std::vector<std::int64_t> first(entries_.size() + 1);
  std::iota(first.begin(), first.end(), 0);
  return first;
}

Sample ArraySource::sample(std::int64_t index, const Draw&) const {
  const auto& from = entry(index);
  Sample sample;
  Values values = std::visit(
      [&](const auto* at) -> Values {
        using T = std::remove_const_t<std::remove_pointer_t<decltype(at)>>;
        return std::vector<T>(at, at + count_of(from.shape));
      },
      from.values);
  sample.arrays.push_back({modality_, from.shape, std::move(values), GridSpace{from.spacing, std::vector<double>(from.spacing.size(), 0.0)}});
  sample.targets = from.targets;
  return sample;
}

}  // namespace sslmed::data
