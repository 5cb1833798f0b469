#include <catch2/catch.hpp>
#include <cmath>
#include <string>
#include <vector>

#include "core/error.h"
#include "modalities/eeg/alignment.h"
#include "modalities/eeg/eeg_source.h"

using namespace sslmed;
using namespace sslmed::eeg;

namespace {

RecordingEntry noise(std::vector<float>& storage, std::uint64_t seed, std::vector<std::string> names, const std::string& subject, std::int64_t n = 2000) {
  storage.resize(static_cast<std::size_t>(n) * names.size());
  Philox random({seed, 0, 0}, Stream::kMask, true);
  for (auto& value : storage) value = static_cast<float>(10 * random.normal());
  return {std::shared_ptr<const Recording>(array_recording("r" + std::to_string(seed), storage.data(), n, 100, std::move(names), nullptr)), subject, "site"};
}

EegOptions aligned() {
  EegOptions o;
  o.sfreq = 100;
  o.window = 2;
  o.l_freq = o.h_freq = o.margin = 0;
  o.average_reference = false;
  o.scaling = transforms::Scaling::kNone;
  o.clip = 0;
  o.align = true;
  return o;
}

std::vector<double> signal(const data::Sample& sample) {
  const auto& values = std::get<std::vector<float>>(sample.arrays[0].values);
  return {values.begin(), values.end()};
}

}  // namespace

TEST_CASE("a subject's recordings of one montage are aligned together") {
  std::vector<std::vector<float>> storage(4);
  const std::vector<std::string> two{"Fp1", "Cz"}, three{"Fp1", "Cz", "O2"};
  const auto list =
      open_list({noise(storage[0], 0, two, "a"), noise(storage[1], 1, two, "b"), noise(storage[2], 2, three, "a"), noise(storage[3], 3, two, "a")});
  const Alignment alignment(*list);
  CHECK(alignment.relatives(0) == std::vector<std::int64_t>{0, 3});
  CHECK(alignment.relatives(3) == std::vector<std::int64_t>{0, 3});
  CHECK(alignment.relatives(1) == std::vector<std::int64_t>{1});
  CHECK(alignment.relatives(2) == std::vector<std::int64_t>{2});

  const EegSource source(list, aligned(), {});
  // Both recordings of "a" on two channels: the mean covariance over their windows is the identity, though not of each alone.
  MeanCovariance together(2), alone(2);
  for (std::int64_t i = 0; i < source.size(); ++i) {
    const auto recording = source.describe(i).recording;
    if (recording != 0 && recording != 3) continue;
    const auto sample = source.sample(i, {});
    const auto x = signal(sample);
    together.add({1, 1}, x.data(), sample.arrays[0].shape[1]);
    if (recording == 0) alone.add({1, 1}, x.data(), sample.arrays[0].shape[1]);
  }
  for (std::size_t i = 0; i < 4; ++i) CHECK(together.sums[i] / together.counts[i] == Approx(i == 0 || i == 3 ? 1 : 0).margin(1e-5));
  CHECK(std::abs(alone.sums[0] / alone.counts[0] - 1) > 1e-3);
}

TEST_CASE("a channel that is flat for a while is aligned where it is not") {
  std::vector<float> storage;
  auto entry = noise(storage, 5, {"Fp1", "Cz", "O2"}, "a");
  for (std::size_t t = 0; t < 400; ++t) storage[2 * 2000 + t] = 7;  // O2, in the first two windows
  const EegSource source(open_list({std::move(entry)}), aligned(), {});
  CHECK(source.sample(0, {}).arrays[0].shape[0] == 2);
  const auto whole = source.sample(5, {});
  CHECK(whole.arrays[0].shape[0] == 3);
  MeanCovariance mean(3);
  for (std::int64_t i = 0; i < source.size(); ++i) {
    const auto sample = source.sample(i, {});
    if (sample.arrays[0].shape[0] < 3) continue;
    mean.add({1, 1, 1}, signal(sample).data(), sample.arrays[0].shape[1]);
  }
  for (std::size_t i = 0; i < 9; ++i) CHECK(mean.sums[i] / mean.counts[i] == Approx(i % 4 == 0 ? 1 : 0).margin(0.1));
}

TEST_CASE("a channel that the subject's windows know nothing of is refused by name") {
  std::vector<float> storage;
  // Of 100 windows every other one is looked at, or less: O2 carries a signal in one that is not.
  auto entry = noise(storage, 6, {"Fp1", "O2"}, "a", 20000);
  for (std::size_t t = 0; t < 20000; ++t)
    if (t < 400 || t >= 600) storage[20000 + t] = 7;
  const EegSource source(open_list({std::move(entry)}), aligned(), {});
  CHECK(source.sample(0, {}).arrays[0].shape[0] == 1);
  CHECK_THROWS_WITH(source.sample(2, {}), Catch::Contains("O2") && Catch::Contains("r6"));
}
