#pragma once
// A toy modality: volumes whose cells hold their own number, with a label map of the same numbers, subjects and sites. Made in memory.
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "data/source.h"

namespace sslmed::toy {

class RampSource : public data::Source {
 public:
  // Volumes [depth, height, width], two of each subject; odd ones fall where even ones rise.
  explicit RampSource(std::int64_t n, std::vector<std::int64_t> shape = {8, 8, 8}) : n_(n), shape_(std::move(shape)) {}
  std::int64_t size() const override { return n_; }
  data::SampleInfo describe(std::int64_t i) const override {
    return {"subject" + std::to_string(i / 2), i % 4 < 2 ? "here" : "there", "ramp" + std::to_string(i), i, {}};
  }
  std::vector<std::int64_t> first_samples() const override {  // a recording holds one sample
    std::vector<std::int64_t> first(static_cast<std::size_t>(n_) + 1);
    std::iota(first.begin(), first.end(), 0);
    return first;
  }
  data::Sample sample(std::int64_t i, const Draw&) const override {
    const auto cells = std::accumulate(shape_.begin(), shape_.end(), std::int64_t{1}, std::multiplies<>());
    data::LabelMap map{shape_, std::vector<std::int32_t>(static_cast<std::size_t>(cells))};
    std::iota(map.classes.begin(), map.classes.end(), 0);
    std::vector<float> values;
    for (const auto cell : map.classes) values.push_back(static_cast<float>(i % 2 == 0 ? cell : -cell) / 256);
    auto shape = shape_;
    shape.push_back(1);  // channels
    data::Sample sample;
    sample.arrays.push_back({"ramps", std::move(shape), std::move(values), data::GridSpace{{2, 1, 0.5}, {0, 10, 20}}});  // mm
    sample.targets["cells"] = std::move(map);
    sample.targets["falls"] = static_cast<double>(i % 2);
    return sample;
  }

 private:
  std::int64_t n_;
  std::vector<std::int64_t> shape_;
};

}  // namespace sslmed::toy
