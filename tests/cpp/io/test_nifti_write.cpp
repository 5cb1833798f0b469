#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <iterator>
#include <numeric>

#include "core/error.h"
#include "io/nifti_write.h"
#include "temporary.h"

using namespace sslmed;
using namespace sslmed::io;

namespace {

NiftiWriteOptions plain_options() {
  NiftiWriteOptions out;
  out.type = NiftiType::kInt16;
  out.shape = {2, 3, 4};
  out.affine = {0, 0, 3, -1, 1, 0, 0, -2, 0, 2, 0, -3, 0, 0, 0, 1};
  out.spacing = {1, 2, 3};
  return out;
}

std::vector<std::int16_t> plain_values() {
  std::vector<std::int16_t> out(24);
  std::iota(out.begin(), out.end(), std::int16_t{-3});
  return out;
}

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

TEST_CASE("nifti write: a file says what was asked, in both versions, plain and compressed") {
  const testing::TemporaryFolder folder;
  const auto values = plain_values();
  auto options = plain_options();
  options.extensions = {{6, "hello"}, {4, std::string(40, 'x')}};
  options.description = "a test";
  options.affine_code = 4;
  options.slope = 0.5;
  options.inter = -1;
  for (const int version : {1, 2})
    for (const char* name : {"a.nii", "a.nii.gz", "B.NII.GZ"}) {
      options.version = version;
      write_nifti(folder / name, options, values.data());
      std::vector<std::string> warnings;
      NiftiReader reader(folder / name, warnings);
      std::vector<float> back(reader.room(sizeof(float)));
      CHECK(reader.read(back.data(), back.size()) == 0);
      for (std::size_t i = 0; i < 24; ++i) CHECK(back[i] == 0.5f * static_cast<float>(values[i]) - 1);
      const auto& header = reader.header();
      CHECK(warnings.empty());
      CHECK(header.version == version);
      CHECK(header.shape == options.shape);
      CHECK(header.affine == options.affine);
      CHECK(header.affine_code == 4);
      CHECK(header.spacing == options.spacing);
      CHECK(header.description == "a test");
      CHECK(header.data_offset % 16 == 0);
      REQUIRE(reader.extensions().size() == 2);
      CHECK(reader.extensions()[1].bytes == std::string(40, 'x'));
    }
}

TEST_CASE("nifti write: equal input gives equal bytes, and no other file stays") {
  const testing::TemporaryFolder folder;
  const auto values = plain_values();
  write_nifti(folder / "a.nii.gz", plain_options(), values.data());
  write_nifti(folder / "b.nii.gz", plain_options(), values.data());
  CHECK(contents(folder / "a.nii.gz") == contents(folder / "b.nii.gz"));
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 2);
}

TEST_CASE("nifti write: the qform says what the sform says, or nothing") {
  const testing::TemporaryFolder folder;
  const auto values = plain_values();
  const auto qform_code = [&](const NiftiWriteOptions& options) {
    write_nifti(folder / "a.nii", options, values.data());
    const auto bytes = contents(folder / "a.nii");
    return static_cast<int>(bytes[252]);
  };
  CHECK(qform_code(plain_options()) == 2);
  // Half turns, and mirrors of them, where the real part of the quaternion is 0.
  for (const double x : {-1.0, 1.0})
    for (const double y : {-2.0, 2.0})
      for (const double z : {-3.0, 3.0}) {
        auto options = plain_options();
        options.affine = {x, 0, 0, 5, 0, y, 0, 6, 0, 0, z, 7, 0, 0, 0, 1};
        CHECK(qform_code(options) == 2);
      }
  auto sheared = plain_options();
  sheared.affine[1] = 0.1;
  CHECK(qform_code(sheared) == 0);
  auto other = plain_options();
  other.spacing = {2, 2, 3};
  CHECK(qform_code(other) == 0);
}

TEST_CASE("nifti write: what the format cannot hold is refused by its name, and nothing is written") {
  const testing::TemporaryFolder folder;
  const auto values = plain_values();
  const auto refused = [&](auto change, const char* text, const char* name = "a.nii") {
    auto options = plain_options();
    change(options);
    CHECK_THROWS_WITH(write_nifti(folder / name, options, values.data()), Catch::Contains(text));
    CHECK(std::filesystem::is_empty(folder.path()));
  };
  using O = NiftiWriteOptions;
  refused([](O&) {}, "ends in .nii or .nii.gz", "a.img");
  refused([](O& o) { o.shape = {40000, 1, 1}; }, "needs version=2");
  refused([](O& o) { o.shape = {}; }, "1 to 7 axes");
  refused([](O& o) { o.shape = {1, 0, 1}; }, "one cell or more");
  refused([](O& o) { o.version = 3; }, "version=3");
  refused([](O& o) { o.spacing = {1, 2}; }, "spacing must have one value an axis");
  refused([](O& o) { o.spacing[1] = -2; }, "spacing must be finite and above 0");
  refused([](O& o) { o.affine[3] = NAN; }, "affine must be finite");
  refused([](O& o) { o.affine[12] = 1; }, "the last row of affine");
  refused([](O& o) { o.affine_code = 0; }, "affine_code=0");
  refused([](O& o) { o.slope = 0; }, "slope=0");
  refused([](O& o) { o.inter = INFINITY; }, "inter=inf");
  refused([](O& o) { o.description = std::string(80, 'x'); }, "at most 79 bytes");
  refused([](O& o) { o.compression = 13; }, "compression=13", "a.nii.gz");
}
