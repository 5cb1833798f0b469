#pragma once
// Arrays in memory, one a sample: of any rank, on a regular grid.

#include <memory>
#include <string>
#include <vector>

#include "data/source.h"

namespace sslmed::data {

// One array [spatial…, channels] and what is known of it. The values are not copied until they are drawn; `owner` keeps them alive.
struct ArrayEntry {
  std::string name, subject, site;
  std::vector<std::int64_t> shape;
  std::variant<const float*, const std::uint8_t*> values;
  std::shared_ptr<const void> owner;
  std::vector<double> spacing;  // mm along each spatial axis; 0 where it is not known
  Targets targets;
};

class ArraySource : public Source {
 public:
  // ValueError for an entry whose shape or spacing does not fit.
  ArraySource(std::string modality, std::vector<ArrayEntry> entries);

  std::int64_t size() const override { return static_cast<std::int64_t>(entries_.size()); }
  SampleInfo describe(std::int64_t index) const override;
  std::vector<std::int64_t> first_samples() const override;
  Sample sample(std::int64_t index, const Draw& draw) const override;

 private:
  const ArrayEntry& entry(std::int64_t index) const;

  std::string modality_;
  std::vector<ArrayEntry> entries_;
};

}  // namespace sslmed::data
