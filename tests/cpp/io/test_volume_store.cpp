#include <catch2/catch.hpp>
#include <cstdio>
#include <fstream>
#include <numeric>

#include "core/error.h"
#include "core/random.h"
#include "io/volume_store.h"
#include "temporary.h"

namespace {

using namespace sslmed;
using io::Extent3;

// Two channels over 2 x 2 x 2 chunks, of which the last ones are cut.
io::StoreVolume random_volume(std::uint64_t seed) {
  io::StoreVolume volume;
  volume.shape = {40, 33, 50};
  volume.spacing = {1, 2, 0.5};
  volume.affine = {1, 0, 0, -5, 0, 2, 0, 3, 0, 0, 0.5, 7, 0, 0, 0, 1};
  volume.settings = "{\"spacing\": 1}";
  volume.facts = "{\"mask\": \"found\"}";
  const std::size_t n = 40 * 33 * 50;
  std::vector<std::int16_t> codes(n);
  std::vector<std::uint8_t> mask(n);
  Philox random({seed, 0, 0}, Stream::kWindow, true);
  for (std::size_t i = 0; i < n; ++i) {
    codes[i] = static_cast<std::int16_t>(static_cast<int>(random.below(65535)) - 32767);
    mask[i] = i / (33 * 50) < 32 ? 1 : 0;  // constant within each chunk
  }
  volume.channels = {{"T1w", codes, 0.001, 0.25, -32.5}, {"mask", mask, 1, 0, 0}};
  return volume;
}

float value_at(const io::StoreVolume& volume, std::int64_t x, std::int64_t y, std::int64_t z) {
  const auto& codes = std::get<std::vector<std::int16_t>>(volume.channels[0].codes);
  return 0.001f * static_cast<float>(codes[static_cast<std::size_t>((x * 33 + y) * 50 + z)]) + 0.25f;
}

}  // namespace

TEST_CASE("a store gives back what it was made of, whole and in part") {
  const auto volume = random_volume(1);
  const auto store = io::VolumeStore::from_bytes("memory", io::encode_store(volume));
  CHECK(store->shape() == volume.shape);
  CHECK(store->spacing() == volume.spacing);
  CHECK(store->affine() == volume.affine);
  CHECK(store->settings() == volume.settings);
  CHECK(store->facts() == volume.facts);
  store->verify();
  const auto* channel = store->find("T1w");
  REQUIRE(channel != nullptr);
  CHECK(store->find("FLAIR") == nullptr);
  for (const auto& [first, shape] : {std::pair<Extent3, Extent3>{{0, 0, 0}, {40, 33, 50}}, {{30, 1, 31}, {4, 32, 2}}, {{-3, 30, 45}, {50, 5, 9}}}) {
    std::vector<float> values(static_cast<std::size_t>(shape[0] * shape[1] * shape[2]));
    store->read(*channel, first, shape, values.data());
    std::size_t i = 0;
    bool equal = true;
    for (auto x = first[0]; x < first[0] + shape[0]; ++x)
      for (auto y = first[1]; y < first[1] + shape[1]; ++y)
        for (auto z = first[2]; z < first[2] + shape[2]; ++z, ++i) {
          const bool inside = x >= 0 && y >= 0 && z >= 0 && x < 40 && y < 33 && z < 50;
          equal = equal && values[i] == (inside ? value_at(volume, x, y, z) : -32.5f);
        }
    CHECK(equal);
  }
  std::vector<std::uint8_t> mask(40 * 33 * 50);
  store->read(*store->find("mask"), {0, 0, 0}, {40, 33, 50}, mask.data());
  CHECK(mask == std::get<std::vector<std::uint8_t>>(volume.channels[1].codes));
}

TEST_CASE("chunks of one value take no room in a store") {
  auto volume = random_volume(2);
  const auto full = io::encode_store(volume).size();
  auto& codes = std::get<std::vector<std::int16_t>>(volume.channels[0].codes);
  std::fill(codes.begin(), codes.end(), std::int16_t{-7});
  const auto store = io::VolumeStore::from_bytes("memory", io::encode_store(volume));
  CHECK(io::encode_store(volume).size() + codes.size() * 2 <= full + 64);
  float value = 0;
  store->read(*store->find("T1w"), {39, 32, 49}, {1, 1, 1}, &value);
  CHECK(value == Approx(0.243));
}

TEST_CASE("a store with any changed bit is refused by name") {
  const testing::TemporaryFolder folder;
  const auto path = folder / "one.smv";
  const auto bytes = io::encode_store(random_volume(3));
  Philox random({4, 0, 0}, Stream::kWindow);
  for (int i = 0; i < 60; ++i) {
    auto changed = bytes;
    // The first tries lie in the header, the others anywhere.
    const auto at = random.below(static_cast<std::uint32_t>(i < 20 ? 600 : bytes.size()));
    changed[at] = static_cast<std::uint8_t>(changed[at] ^ 1u << random.below(8));
    std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(changed.data()), static_cast<std::streamsize>(changed.size()));
    CHECK_THROWS_WITH(io::VolumeStore::open(path)->verify(), Catch::Contains("one.smv"));
  }
}

TEST_CASE("a store that is cut is refused, wherever") {
  const auto bytes = io::encode_store(random_volume(5));
  for (std::size_t size = 0; size < bytes.size(); size += 1 + size / 3) {
    auto cut = bytes;
    cut.resize(size);
    CHECK_THROWS_AS(io::VolumeStore::from_bytes("cut", cut)->verify(), FormatError);
  }
}

TEST_CASE("files that are no stores are refused") {
  const testing::TemporaryFolder folder;
  CHECK_THROWS_AS(io::VolumeStore::open(folder / "none.smv"), ReadError);
  CHECK_THROWS_AS(io::VolumeStore::open(folder.path().string()), ReadError);
  CHECK_THROWS_AS(io::VolumeStore::open(folder.write("empty.smv", "")), FormatError);
  CHECK_THROWS_AS(io::VolumeStore::open(folder.write("other.smv", "a text that is no prepared volume")), FormatError);
}
