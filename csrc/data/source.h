#pragma once
// A source maps an index to a sample. To add a modality, write one of these (docs/adding.md).

#include <cstdint>
#include <vector>

#include "core/random.h"
#include "data/sample.h"

namespace sslmed::data {

class Source {
 public:
  virtual ~Source() = default;
  virtual std::int64_t size() const = 0;
  // Cheap: no file is touched.
  virtual SampleInfo describe(std::int64_t index) const = 0;
  // [recordings + 1]: the samples of recording (or slide) r are [first[r], first[r + 1]).
  virtual std::vector<std::int64_t> first_samples() const = 0;
  // Thread-safe; a pure function of (index, draw) and the files. Throws FormatError or ReadError naming the file.
  virtual Sample sample(std::int64_t index, const Draw& draw) const = 0;
};

}  // namespace sslmed::data
