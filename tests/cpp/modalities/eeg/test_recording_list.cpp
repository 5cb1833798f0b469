#include <catch2/catch.hpp>
#include <fstream>

#include "core/error.h"
#include "edf_bytes.h"
#include "modalities/eeg/eeg_source.h"
#include "temporary.h"

using namespace sslmed;
using namespace sslmed::eeg;

namespace {

// Two files: one of four seconds, one with a gap between its second and third record.
struct Files {
  testing::TemporaryFolder folder;
  std::string bytes;
  std::vector<std::int64_t> offsets{0};
  Files() {
    for (const auto& onsets : {std::vector<double>{0, 1, 2, 3}, std::vector<double>{0, 1, 5, 6}}) {
      const std::string path = folder / (std::to_string(offsets.size()) + ".edf");
      std::ofstream(path, std::ios::binary) << testing::edf_bytes(onsets, "EDF+D", 50);
      bytes += path;
      offsets.push_back(static_cast<std::int64_t>(bytes.size()));
    }
  }
  RecordingIndex index() const {
    static const std::int64_t subject_offsets[] = {0, 1, 2};
    RecordingIndex index;
    index.origins.paths = {offsets.data(), bytes.data(), nullptr};
    index.origins.subjects = {subject_offsets, "ab", nullptr};
    index.origins.n_subjects = 2;
    index.origins.subject_codes = {1, 0};
    index.origins.sites = {"here"};
    index.origins.site_codes = {0, 0};
    index.montages = {{50, {"Cz"}}};
    index.montage_codes = {0, 0};
    index.samples = {200, 0};
    index.gappy[1] = {{0, 100}, {250, 350}};
    return index;
  }
};

EegOptions window_options() {
  EegOptions o;
  o.sfreq = 25;
  o.window = 1;
  o.h_freq = 10;
  o.average_reference = false;
  return o;
}

}  // namespace

TEST_CASE("an index gives the windows that its files give") {
  const Files files;
  const EegSource indexed(indexed_list(files.index()), window_options(), {});
  std::vector<std::string> notes;
  const auto cache = std::make_shared<FileCache>();
  std::vector<RecordingEntry> entries;
  for (int i = 0; i < 2; ++i)
    entries.push_back({std::shared_ptr<const Recording>(open_recording(indexed_list(files.index())->name(i), cache, notes)), i == 0 ? "b" : "a", "here"});
  const EegSource opened(open_list(std::move(entries)), window_options(), {});
  REQUIRE(indexed.size() == 8);
  REQUIRE(opened.size() == 8);
  for (std::int64_t i = 0; i < 8; ++i) {
    const auto a = indexed.describe(i), b = opened.describe(i);
    CHECK(a.subject == b.subject);
    CHECK(a.site == b.site);
    CHECK(a.file == b.file);
    CHECK(a.place[0].value == b.place[0].value);
    CHECK(indexed.sample(i, {}).arrays[0].values == opened.sample(i, {}).arrays[0].values);
  }
  CHECK(indexed.describe(6).place[0].value == 5);  // after the gap
  CHECK(indexed.first_samples() == std::vector<std::int64_t>{0, 4, 8});
}

TEST_CASE("a file that is not as its index says is refused when it is read") {
  const Files files;
  auto index = files.index();
  index.montages[0].sfreq = 100;
  CHECK_THROWS_WITH(EegSource(indexed_list(index), window_options(), {}).sample(0, {}), Catch::Contains("as the index says") && Catch::Contains("1.edf"));
  index = files.index();
  index.samples[0] = 300;
  CHECK_THROWS_AS(EegSource(indexed_list(index), window_options(), {}).sample(0, {}), FormatError);
  index = files.index();
  index.montage_codes[1] = 1;
  CHECK_THROWS_AS(indexed_list(index), ValueError);
  index = files.index();
  index.samples[0] = -1;
  CHECK_THROWS_AS(indexed_list(index), ValueError);
  index = files.index();
  index.gappy[1] = {{50, 100}, {60, 120}};
  CHECK_THROWS_AS(indexed_list(index), ValueError);
}
