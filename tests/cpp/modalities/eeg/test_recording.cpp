#include <catch2/catch.hpp>

#include "core/error.h"
#include "edf_bytes.h"
#include "modalities/eeg/recording.h"
#include "temporary.h"

using namespace sslmed;
using namespace sslmed::eeg;

TEST_CASE("units and auxiliary channels") {
  CHECK(microvolts("uV") == 1.0);
  CHECK(microvolts("\xc2\xb5V") == 1.0);
  CHECK(microvolts("mV") == 1000.0);
  CHECK_FALSE(microvolts("DegC"));
  CHECK(is_auxiliary("ECG ECG"));
  CHECK(is_auxiliary("Status"));
  CHECK_FALSE(is_auxiliary("EEG Fp1"));
}

TEST_CASE("recordings from a file and from memory read alike") {
  const testing::TemporaryFolder folder;
  std::vector<std::string> notes;
  const auto cache = std::make_shared<FileCache>(1);
  const auto file = open_recording(folder.write("a.edf", testing::edf_bytes({0, 1, 5})), cache, notes);
  CHECK(notes.empty());
  CHECK(file->channels() == std::vector<std::string>{"Cz"});
  REQUIRE(file->stretches().size() == 2);
  CHECK(file->stretches()[1].first == 50);
  float x[10];
  file->read({0}, 5, 15, x);
  CHECK(x[9] == 14);
  open_recording(folder.write("b.edf", testing::edf_bytes({0})), cache, notes);  // pushes the first out of the cache
  file->read({0}, 5, 15, x);
  std::vector<float> values(20);
  for (int i = 0; i < 20; ++i) values[static_cast<std::size_t>(i)] = static_cast<float>(i);
  const auto array = array_recording("m", values.data(), 20, 10, {"Cz"}, nullptr);
  float y[10];
  array->read({0}, 5, 15, y);
  CHECK(std::equal(x, x + 10, y));
  CHECK_THROWS_AS(array->read({0}, 15, 25, y), ValueError);
  CHECK_THROWS_AS(array_recording("m", values.data(), 20, 0, {"Cz"}, nullptr), ValueError);
}
