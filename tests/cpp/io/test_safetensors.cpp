#include <catch2/catch.hpp>

#include "core/error.h"
#include "io/safetensors.h"
#include "temporary.h"

using namespace sslmed;
using namespace sslmed::io;

TEST_CASE("tensors and metadata come back, aligned to their elements") {
  const testing::TemporaryFolder folder;
  const float a[3] = {1, 2, 3};
  const std::uint8_t b[1] = {7};
  const double c[1] = {0.5};
  write_safetensors(folder / "x", {{"b", "U8", {1}, b}, {"a", "F32", {3, 1}, a}, {"c", "F64", {}, c}}, {{"k", "v\""}});
  const SafetensorsFile file(folder / "x");
  CHECK(file.metadata().at("k") == "v\"");
  REQUIRE(file.entries().size() == 3);
  for (const auto& entry : file.entries()) CHECK(entry.begin % element_size(entry.code) == 0);
  float back[3];
  for (const auto& entry : file.entries())
    if (entry.name == "a") file.read(entry, back);
  CHECK(back[2] == 3);
  CHECK_THROWS_AS(write_safetensors(folder / "y", {{"a", "U8", {1}, b}, {"a", "U8", {1}, b}}, {}), ValueError);
  CHECK_THROWS_AS(write_safetensors(folder / "y", {{"a", "X9", {1}, b}}, {}), ValueError);
}

TEST_CASE("a cut file is refused at every length") {
  const testing::TemporaryFolder folder;
  const float a[2] = {1, 2};
  write_safetensors(folder / "x", {{"a", "F32", {2}, a}}, {});
  const auto size = std::filesystem::file_size(folder / "x");
  for (std::size_t n = 0; n < size; ++n) {
    std::filesystem::copy_file(folder / "x", folder / "cut", std::filesystem::copy_options::overwrite_existing);
    std::filesystem::resize_file(folder / "cut", n);
    CHECK_THROWS_AS(SafetensorsFile(folder / "cut"), FormatError);
  }
}
