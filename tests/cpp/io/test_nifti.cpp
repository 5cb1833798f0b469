#include <catch2/catch.hpp>
#include <cstdint>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "io/nifti.h"
#include "nifti_bytes.h"
#include "temporary.h"

using namespace sslmed;
using namespace sslmed::io;
using sslmed::testing::NiftiBytes;

namespace {

std::string gzipped(const std::string& bytes) {
  const auto packed = gzip(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size(), 6);
  return {packed.begin(), packed.end()};
}

template <class T>
std::vector<T> counted(std::size_t n) {
  std::vector<T> out(n);
  std::iota(out.begin(), out.end(), T{});
  return out;
}

std::vector<float> floats(std::size_t n) { return counted<float>(n); }

template <class T>
std::vector<T> read_all(const std::string& path) {
  std::vector<std::string> warnings;
  NiftiReader reader(path, warnings);
  std::vector<T> out(reader.room(sizeof(T)));
  const auto first = reader.read(out.data(), out.size());
  out.erase(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(first));
  out.resize(reader.numbers());
  return out;
}

}  // namespace

TEST_CASE("a volume comes in the file's order, plain and compressed, of both versions and byte orders") {
  const testing::TemporaryFolder folder;
  for (const int version : {1, 2})
    for (const bool swapped : {false, true}) {
      const auto bytes = NiftiBytes({2, 3, 4, 1}, 4, version, swapped).values(counted<std::int16_t>(24)).bytes();
      for (const auto& path : {folder.write("a.nii", bytes), folder.write("a.nii.gz", gzipped(bytes))}) {
        std::vector<std::string> warnings;
        const auto volume = read_volume3(path, warnings);
        CHECK(volume.shape == std::array<std::int64_t, 3>{2, 3, 4});
        CHECK(volume.values == floats(24));
        CHECK(volume.affine == std::array<double, 16>{1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1});
        CHECK(warnings.empty());
      }
    }
}

TEST_CASE("values are converted in place over every length, whatever their size") {
  const testing::TemporaryFolder folder;
  for (const std::int64_t n : {1, 87, 88, 89, 1023, 1024, 1025, 5000}) {
    const auto count = static_cast<std::size_t>(n);
    const auto bytes = NiftiBytes({n}, 2).values(std::vector<std::uint8_t>(count, 7)).bytes();
    CHECK(read_all<float>(folder.write("a.nii.gz", gzipped(bytes))) == std::vector<float>(count, 7.0f));
    const auto shorts = folder.write("b.nii.gz", gzipped(NiftiBytes({n}, 4).values(counted<std::int16_t>(count)).bytes()));
    CHECK(read_all<float>(shorts) == floats(count));
    CHECK(read_all<double>(shorts) == counted<double>(count));
    CHECK(read_all<std::int32_t>(shorts) == counted<std::int32_t>(count));
    CHECK(read_all<float>(folder.write("c.nii.gz", gzipped(NiftiBytes({n}, 16).values(floats(count)).bytes()))) == floats(count));
    CHECK(read_all<float>(folder.write("d.nii.gz", gzipped(NiftiBytes({n}, 64).values(counted<double>(count)).bytes()))) == floats(count));
  }
}

TEST_CASE("slope and intercept are applied in double precision, one after the other") {
  const testing::TemporaryFolder folder;
  const auto path = folder.write("a.nii", NiftiBytes({3, 1, 1}, 4).scale(0.1f, -7.3f).values(std::vector<std::int16_t>{-3, 0, 30000}).bytes());
  const double slope = 0.1f, inter = -7.3f;
  volatile double product = 30000 * slope;
  CHECK(read_all<double>(path) == std::vector<double>{-3 * slope + inter, inter, product + inter});
  std::vector<std::string> warnings;
  CHECK_FALSE(NiftiReader(path, warnings).exact_in_float());
  CHECK(NiftiReader(folder.write("b.nii", NiftiBytes({1}, 8).values(std::vector<std::int32_t>{1 << 30}).bytes()), warnings).exact_in_float());
  CHECK_FALSE(NiftiReader(folder.write("b.nii", NiftiBytes({1}, 8).values(std::vector<std::int32_t>{(1 << 24) + 1}).bytes()), warnings).exact_in_float());
}

TEST_CASE("numbers of 16 bits that are shifted by a whole number are known to be exact in float32") {
  const testing::TemporaryFolder folder;
  std::vector<std::string> warnings;
  const auto exact = [&](double slope, double inter, std::int16_t value) {
    const auto path = folder.write("a.nii", NiftiBytes({1}, 4).scale(slope, inter).values(std::vector<std::int16_t>{value}).bytes());
    const double whole = value * slope + inter;
    CHECK(NiftiReader(path, warnings).exact_in_float() == (static_cast<double>(static_cast<float>(whole)) == whole));
    CHECK(read_all<double>(path)[0] == whole);
    return NiftiReader(path, warnings).exact_in_float();
  };
  CHECK(exact(1, -1024, 32767));
  CHECK(exact(1, 1 << 23, 32767));
  CHECK_FALSE(exact(1, 1 << 25, 32767));
  CHECK_FALSE(exact(1, 0.1f, 32767));
}

TEST_CASE("integers are read as such, and others refused with their cell") {
  const testing::TemporaryFolder folder;
  const auto path = folder.write("a.nii", NiftiBytes({2, 2, 1}, 16).values(std::vector<float>{1, -2, 3, 0.5f}).bytes());
  CHECK_THROWS_WITH(read_all<std::int32_t>(path), Catch::Contains("whole numbers within int32") && Catch::Contains("0.5 in cell (1, 1, 0)"));
  const auto whole = folder.write("b.nii", NiftiBytes({2, 1, 1}, 64).values(std::vector<double>{255, 256}).bytes());
  CHECK(read_all<std::int16_t>(whole) == std::vector<std::int16_t>{255, 256});
  CHECK_THROWS_WITH(read_all<std::uint8_t>(whole), Catch::Contains("256 in cell (1, 0, 0)"));
  const auto huge = folder.write("c.nii", NiftiBytes({2}, 1280).values(std::vector<std::uint64_t>{1, 1ULL << 63}).bytes());
  CHECK_THROWS_AS(read_all<std::int64_t>(huge), FormatError);
  for (const double value : {0x1p63, std::numeric_limits<double>::quiet_NaN(), -1e300})
    CHECK_THROWS_AS(read_all<std::int64_t>(folder.write("d.nii", NiftiBytes({1}, 64).values(std::vector<double>{value}).bytes())), FormatError);
}

TEST_CASE("a volume of several frames, of colors or without a place is refused, and so is a cut file") {
  const testing::TemporaryFolder folder;
  std::vector<std::string> warnings;
  const auto refused = [&](const NiftiBytes& file) { CHECK_THROWS_AS(read_volume3(folder.write("a.nii", file.bytes()), warnings), FormatError); };
  refused(NiftiBytes({1, 1, 1, 2}, 2).values(counted<std::uint8_t>(2)));
  refused(NiftiBytes({1, 1, 1}, 128).values(counted<std::uint8_t>(3)));
  refused(NiftiBytes({1, 1, 1}, 2).real(280, 400, 3, std::numeric_limits<double>::quiet_NaN()).values(counted<std::uint8_t>(1)));
  refused(NiftiBytes({2, 1, 1}, 2).values(counted<std::uint8_t>(1)));
  const auto bytes = gzipped(NiftiBytes({9, 9, 9}, 4).values(counted<std::int16_t>(729)).bytes());
  for (std::size_t n = 0; n < bytes.size(); n += 7) CHECK_THROWS_AS(read_volume3(folder.write("b.nii.gz", bytes.substr(0, n)), warnings), FormatError);
}

TEST_CASE("a header that asks for more than the file can hold allocates nothing") {
  const testing::TemporaryFolder folder;
  std::vector<std::string> warnings;
  const auto bytes = NiftiBytes({1 << 20, 1 << 20, 1 << 10}, 64, 2).values(counted<double>(9)).bytes();
  CHECK_THROWS_AS(NiftiReader(folder.write("a.nii", bytes), warnings), FormatError);
  CHECK_THROWS_AS(NiftiReader(folder.write("a.nii.gz", gzipped(bytes)), warnings), FormatError);
  // More than the header says is left out with a warning; very much more is not decompressed.
  const auto longer = NiftiBytes({2, 1, 1}, 2).values(std::vector<std::uint8_t>(100)).bytes();
  CHECK(read_volume3(folder.write("b.nii.gz", gzipped(longer)), warnings).values == std::vector<float>(2));
  CHECK(warnings.back().find("98 bytes after the last value") != std::string::npos);
  const auto bomb = gzipped(NiftiBytes({2, 1, 1}, 2).values(std::vector<std::uint8_t>(20 << 20)).bytes());
  CHECK_THROWS_WITH(read_volume3(folder.write("c.nii.gz", bomb), warnings), Catch::Contains("as the header has it, found more than"));
}

TEST_CASE("pairs are found from either name, compressed or not") {
  const testing::TemporaryFolder folder;
  auto pair = NiftiBytes({2, 2, 1}, 4, 1, false, "ni1");
  pair.put(108, 0.0f);
  const std::string values(NiftiBytes({1}, 4).values(counted<std::int16_t>(4)).bytes().substr(352));
  folder.write("a.hdr", pair.bytes());
  folder.write("a.img", values);
  folder.write("B.HDR", pair.bytes());
  folder.write("B.IMG", values);
  folder.write("c.hdr.gz", gzipped(pair.bytes()));
  folder.write("c.img.gz", gzipped(values));
  folder.write("d.hdr", pair.bytes());
  folder.write("d.img.gz", gzipped(values));
  for (const char* name : {"a.hdr", "a.img", "B.HDR", "B.IMG", "c.hdr.gz", "c.img.gz", "d.hdr", "d.img.gz"}) {
    std::vector<std::string> warnings;
    CHECK(read_volume3(folder / name, warnings).values == floats(4));
    CHECK(warnings.empty());
  }
  std::vector<std::string> warnings;
  // Values that begin as a compressed file does.
  folder.write("f.hdr", pair.bytes());
  folder.write("f.img", std::string("\x1f\x8b\x08\0\0\0\0\0", 8));
  CHECK(read_volume3(folder / "f.hdr", warnings).values == std::vector<float>{static_cast<std::int16_t>(0x8b1f), 8, 0, 0});
  folder.write("e.hdr", pair.bytes());
  CHECK_THROWS_AS(read_volume3(folder / "e.hdr", warnings), ReadError);
}

TEST_CASE("extensions are kept, and those that do not fit left out") {
  const testing::TemporaryFolder folder;
  for (const bool packed : {false, true}) {
    auto file = NiftiBytes({1, 1, 1}, 2);
    file.put(108, 352.0f + 48).put(348, std::uint8_t{1});
    file.values(std::vector<std::int32_t>{32, 6}).values(std::vector<char>{'h', 'e', 'y'}).values(std::vector<char>(21));
    file.values(std::vector<std::int32_t>{64, 4, 0, 0}).values(std::vector<std::uint8_t>{9});
    std::vector<std::string> warnings;
    NiftiReader reader(folder.write("a.nii", packed ? gzipped(file.bytes()) : file.bytes()), warnings);
    std::vector<float> value(reader.room(sizeof(float)));
    CHECK(value[reader.read(value.data(), value.size())] == 9);
    REQUIRE(reader.extensions().size() == 1);
    CHECK(reader.extensions()[0].code == 6);
    CHECK(reader.extensions()[0].bytes == "hey");
    CHECK(warnings.back().find("an extension of 64 bytes does not fit") != std::string::npos);
  }
}
