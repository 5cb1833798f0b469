#pragma once
// A source of known arrays, so that loaders and trainers can be tested without files.
#include <cmath>
#include <stdexcept>

#include "core/error.h"
#include "data/source.h"

namespace sslmed::testing {

class FakeSource : public data::Source {
 public:
  explicit FakeSource(std::int64_t n, std::int64_t bad = -1) : n_(n), bad_(bad) {}
  std::int64_t size() const override { return n_; }
  data::SampleInfo describe(std::int64_t i) const override {
    return {"s" + std::to_string(i % 3), "site", "file" + std::to_string(i), i, {{"start", 0, "s"}, {"duration", 1, "s"}}};
  }
  std::vector<std::int64_t> first_samples() const override {
    std::vector<std::int64_t> first(static_cast<std::size_t>(n_) + 1);
    for (std::int64_t i = 0; i <= n_; ++i) first[static_cast<std::size_t>(i)] = i;
    return first;
  }
  data::Sample sample(std::int64_t i, const Draw& draw) const override {
    if (i == bad_) throw FormatError("file" + std::to_string(i), "a signal", "none");
    const std::int64_t channels = 2 + i % 2, length = 32;
    Philox random({draw.seed, 0, static_cast<std::uint64_t>(i)}, Stream::kWindow);
    std::vector<float> values;
    for (std::int64_t k = 0; k < channels * length; ++k) values.push_back(static_cast<float>(std::sin(0.3 * static_cast<double>(k)) + 0.1 * random.normal()));
    data::ChannelSpace space{32, {}, {}};
    const bool odd = i % 2 == 1;
    space.positions.assign(static_cast<std::size_t>(channels), {odd ? 1.0f : 40.0f, odd ? 2.0f : -30.0f, 3.0f});
    space.extra.assign(static_cast<std::size_t>(channels), -1);
    data::Sample sample;
    sample.arrays.push_back({"eeg", {channels, length}, std::move(values), std::move(space)});
    sample.targets["parity"] = odd ? 1.0 : 0.0;
    return sample;
  }

 private:
  std::int64_t n_, bad_;
};

}  // namespace sslmed::testing
