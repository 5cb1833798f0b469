#include <catch2/catch.hpp>
#include <cmath>

#include "core/error.h"
#include "modalities/eeg/eeg_source.h"

using namespace sslmed;
using namespace sslmed::eeg;

namespace {
RecordingEntry sine(std::vector<float>& storage, double sfreq, std::int64_t n, std::vector<std::string> names) {
  storage.resize(static_cast<std::size_t>(n) * names.size());
  for (std::size_t i = 0; i < storage.size(); ++i)
    storage[i] = static_cast<float>(std::sin(2 * 3.14159265 * 10 * static_cast<double>(i % static_cast<std::size_t>(n)) / sfreq) +
                                    0.1 * static_cast<double>(i / static_cast<std::size_t>(n)));
  return {std::shared_ptr<const Recording>(array_recording("r", storage.data(), n, sfreq, std::move(names), nullptr)), "s", "site"};
}
EegOptions options() {
  EegOptions o;
  o.sfreq = 100;
  o.window = 2;
  o.h_freq = 40;
  o.average_reference = false;
  return o;
}
}  // namespace

TEST_CASE("windows cover the recording; jitter stays inside and depends on the draw alone") {
  std::vector<float> storage;
  auto o = options();
  o.jitter = true;
  const EegSource source(open_list({sine(storage, 250, 2600, {"Fp1", "Cz"})}), o, {});
  CHECK(source.size() == 5);
  const auto place = source.describe(4).place;
  REQUIRE(place.size() == 2);
  CHECK(place[0].name == "start");
  CHECK(place[0].value == 8.0);
  CHECK(place[1].value == 2.0);  // s
  CHECK(source.describe(4).text() == "r, start 8 s, duration 2 s");
  for (std::int64_t i = 0; i < 5; ++i) {
    const auto a = source.sample(i, {1, 2, 3}), b = source.sample(i, {1, 2, 3}), c = source.sample(i, {1, 2, 4});
    REQUIRE(a.arrays.size() == 1);
    REQUIRE(a.arrays[0].modality == "eeg");
    REQUIRE(a.arrays[0].shape == std::vector<std::int64_t>{2, 200});
    REQUIRE(a.arrays[0].values == b.arrays[0].values);
    REQUIRE(a.arrays[0].values != c.arrays[0].values);
  }
  CHECK_THROWS_AS(source.sample(5, {}), ValueError);
  CHECK_THROWS_AS(source.describe(-1), ValueError);
}

TEST_CASE("names without a place are left out and noted, and a recording without any is refused") {
  std::vector<float> storage;
  const EegSource source(open_list({sine(storage, 100, 400, {"Fp1", "weird"})}), options(), {});
  CHECK(source.notes().size() == 1);
  CHECK(source.sample(0, {}).arrays[0].shape[0] == 1);
  const EegSource both(open_list({sine(storage, 100, 400, {"Fp1", "weird"})}), options(), {"x", "weird"});
  CHECK(std::get<data::ChannelSpace>(both.sample(0, {}).arrays[0].space).extra == std::vector<std::int32_t>{-1, 1});
  CHECK_THROWS_AS(EegSource(open_list({sine(storage, 100, 400, {"weird"})}), options(), {}), FormatError);
  CHECK_THROWS_AS(EegSource(open_list({sine(storage, 100, 100, {"Fp1"})}), options(), {}), ValueError);
}
