#include <algorithm>
#include <catch2/catch.hpp>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "io/nifti_write.h"
#include "modalities/volume/volume_source.h"
#include "modalities/volume/volumes.h"
#include "temporary.h"

using namespace sslmed;
using namespace sslmed::volume;

namespace {

const std::array<std::int64_t, 3> kPeople{0, 1, 2};

// Two prepared sessions, the second one without FLAIR.
class Stores {
 public:
  Stores() {
    write("a.smv", {{{"T1w", testing::ball(1)}, {"FLAIR", testing::ball(2)}}, {}, {}, {}});
    write("b.smv", {{{"T1w", testing::ball(3)}}, {}, {}, {}});
    for (const char* name : {"a.smv", "b.smv"}) {
      text_ += folder_ / name;
      offsets_.push_back(static_cast<std::int64_t>(text_.size()));
    }
  }
  data::Origins origins() const { return {{offsets_.data(), text_.data(), nullptr}, {0, 1}, {0, 0}, {kPeople.data(), "pq", nullptr}, {"here"}, 2}; }
  const testing::TemporaryFolder& folder() const { return folder_; }

 private:
  void write(const char* name, const Session& session) const {
    const auto bytes = io::encode_store(testing::prepared(name, session, testing::two_mm()));
    AtomicFile file(folder_ / name);
    file.write(bytes.data(), bytes.size());
    file.commit();
  }

  testing::TemporaryFolder folder_;
  std::string text_;
  std::vector<std::int64_t> offsets_{0};
};

VolumeSourceOptions options(std::vector<std::string> sequences = {}, std::vector<bool> optional = {}) {
  VolumeSourceOptions out;
  out.sequences = std::move(sequences);
  out.optional = std::move(optional);
  out.preparation = testing::two_mm();
  return out;
}

std::vector<std::string> names(const data::Sample& sample) {
  std::vector<std::string> out;
  for (const auto& array : sample.arrays) out.push_back(array.name);
  return out;
}

}  // namespace

TEST_CASE("a session's sequences and mask are its sample") {
  const Stores stores;
  auto how = options({"T1w", "FLAIR"}, {false, true});
  how.extra = {0, 1};
  const VolumeSource source(stores.origins(), {}, how, {{"age", {30, 40}}});
  CHECK(source.size() == 2);
  CHECK(source.describe(1).subject == "q");
  CHECK(source.first_samples() == std::vector<std::int64_t>{0, 1, 2});
  const auto both = source.sample(0, {}), one = source.sample(1, {});
  CHECK(names(both) == std::vector<std::string>{"T1w", "FLAIR", "mask"});
  CHECK(names(one) == std::vector<std::string>{"T1w", "mask"});
  CHECK(std::get<double>(one.targets.at("age")) == 40);
  CHECK(both.arrays[0].shape == std::vector<std::int64_t>{20, 20, 20, 1});
  const auto& space = std::get<data::GridSpace>(both.arrays[1].space);
  CHECK(space.extra == 1);
  CHECK(space.origin == std::vector<double>{-20, -20, -20});
  CHECK(names(VolumeSource(stores.origins(), {}, options()).sample(0, {})) == std::vector<std::string>{"T1w", "mask"});
}

TEST_CASE("labels come with samples where they are asked for, and say where nothing is known") {
  const Stores stores;
  auto how = options();
  CHECK(VolumeSource(stores.origins(), {}, how).sample(0, {}).targets.empty());
  how.labels = true;
  const auto sample = VolumeSource(stores.origins(), {}, how).sample(0, {});
  const auto& map = std::get<data::LabelMap>(sample.targets.at("labels"));
  CHECK(map.shape == std::vector<std::int64_t>{20, 20, 20});
  CHECK(std::count(map.classes.begin(), map.classes.end(), data::kUnlabeled) == 20 * 20 * 20);
}

TEST_CASE("regions of training lie within the volume, and show something") {
  const Stores stores;
  auto how = options();
  how.random = true;
  how.region = {8, 8, 40};
  const VolumeSource source(stores.origins(), {}, how);
  std::set<double> places;
  for (std::uint64_t i = 0; i < 30; ++i) {
    const auto sample = source.sample(0, {1, 0, i});
    CHECK(sample.arrays[0].shape == std::vector<std::int64_t>{8, 8, 20, 1});
    const auto& mask = std::get<std::vector<std::uint8_t>>(sample.arrays[1].values);
    CHECK(std::count(mask.begin(), mask.end(), 1) > 0);
    places.insert(std::get<data::GridSpace>(sample.arrays[0].space).origin[0]);
  }
  CHECK(places.size() > 5);
}

TEST_CASE("what a store does not have, or was prepared otherwise, is refused by name") {
  const Stores stores;
  const VolumeSource strict(stores.origins(), {}, options({"T1w", "FLAIR"}, {false, false}));
  CHECK_NOTHROW(strict.sample(0, {}));
  CHECK_THROWS_WITH(strict.sample(1, {}), Catch::Contains("b.smv") && Catch::Contains("FLAIR"));
  CHECK_THROWS_AS(VolumeSource(stores.origins(), {}, options({"PDw"}, {true})).sample(0, {}), FormatError);
  auto other = options();
  other.preparation.spacing = {1, 1, 1};
  CHECK_THROWS_WITH(VolumeSource(stores.origins(), {}, other).sample(0, {}), Catch::Contains("a.smv") && Catch::Contains("prepared with"));
  CHECK_THROWS_AS(VolumeSource(stores.origins(), {}, options({"T1w"}, {})), ValueError);
  CHECK_THROWS_AS(VolumeSource(stores.origins(), {SessionFiles{}}, options()), ValueError);
  CHECK_THROWS_AS(VolumeSource(stores.origins(), {}, options(), {{"age", {1}}}), ValueError);
  CHECK_THROWS_AS(VolumeSource(stores.origins(), {}, options()).sample(2, {}), ValueError);
}

TEST_CASE("what is found on preparing files is told once a session") {
  const Stores stores;
  const auto write = [&](const char* name, const io::Volume3& volume) {
    io::NiftiWriteOptions how;
    how.shape = {volume.shape.begin(), volume.shape.end()};
    how.affine = volume.affine;
    how.spacing = {2, 2, 2};
    io::write_nifti(stores.folder() / name, how, volume.values.data());
    return std::string(stores.folder() / name);
  };
  auto half = testing::ball(2);
  half.shape[2] = 10;
  half.values.resize(24 * 28 * 10);
  const auto t1 = write("T1w.nii", testing::ball(1)), flair = write("FLAIR.nii", half);
  const VolumeSource source(stores.origins(), {{{{"T1w", t1}, {"FLAIR", flair}}, "", "", ""}, {{{"T1w", t1}}, "", "", ""}}, options());
  CHECK(source.take_warnings().empty());
  for (int epoch = 0; epoch < 2; ++epoch) {
    source.sample(1, {});
    source.sample(0, {});
  }
  const auto told = source.take_warnings();
  REQUIRE(told.size() == 1);
  CHECK_THAT(told[0], Catch::Contains("FLAIR.nii") && Catch::Contains("covers 50 %"));
  source.sample(0, {});
  CHECK(source.take_warnings().empty());
}
