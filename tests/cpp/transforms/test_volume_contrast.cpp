#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <set>
#include <vector>

#include "core/error.h"
#include "transforms/volume_contrast.h"
#include "transforms/voxel.h"

using namespace sslmed;
using namespace sslmed::transforms;

namespace {

std::vector<float> contrast_image(const VolumeContrastOptions& options, const std::vector<std::int32_t>& labels, std::array<std::int64_t, 3> shape,
                                  std::uint64_t seed) {
  Philox random({seed, 0, 0}, Stream::kAugment);
  std::vector<float> image(labels.size());
  apply_contrast(plan_contrast(options, random), {labels.data(), shape, {1, 1, 1}}, image.data());
  return image;
}

}  // namespace

TEST_CASE("every voxel is its class's mean and the noise of its number") {
  VolumeContrastOptions options;
  options.background = Background::kClass;
  options.classes = {{-4, 7}};
  std::vector<std::int32_t> labels;
  for (int i = 0; i < 300; ++i) labels.push_back(i % 3 == 0 ? -4 : i % 3 == 1 ? 7 : 5000);
  Philox random({3, 0, 0}, Stream::kAugment);
  const auto plan = plan_contrast(options, random);
  const LabelVolume volume{labels.data(), {5, 6, 10}, {1, 1, 1}};
  const auto table = contrast_table(plan, volume);
  CHECK(table.lowest == -4);
  REQUIRE(table.means.size() == 2);
  std::vector<float> image(300), noise(300);
  apply_contrast(plan, volume, image.data());
  normal_numbers(plan.key, 0, 300, noise.data());
  for (std::size_t i = 0; i < 300; ++i) {
    const auto entry = static_cast<std::size_t>(table.rows[static_cast<std::size_t>(labels[i] + 4)].first);
    CHECK(image[i] == Approx(std::max(0.0F, table.means[entry] + table.stds[entry] * noise[i])).margin(1e-6));
  }
  for (std::size_t entry = 0; entry < 2; ++entry) {
    CHECK((table.means[entry] * 255 >= 25 && table.means[entry] * 255 <= 225));
    CHECK((table.stds[entry] * 255 >= 5 && table.stds[entry] * 255 <= 25));
  }
}

TEST_CASE("means and numbers of parts are uniform over draws") {
  VolumeContrastOptions options;
  options.subclusters = {1, 6};
  const std::vector<std::int32_t> labels{3};
  int low = 0, parts[7] = {};
  for (std::uint64_t i = 0; i < 3000; ++i) {
    Philox random({4, 0, i}, Stream::kAugment);
    const auto table = contrast_table(plan_contrast(options, random), {labels.data(), {1, 1, 1}, {1, 1, 1}});
    low += table.means[0] * 255 < 125;
    ++parts[table.most_parts];
  }
  CHECK(std::abs(low - 1500) < 140);
  for (int n = 1; n <= 6; ++n) CHECK(std::abs(parts[n] - 500) < 110);
}

TEST_CASE("the parts of a class follow a smooth field") {
  VolumeContrastOptions options;
  options.std = {0, 0};
  options.subclusters = {3, 3};
  options.subcluster_scale = 8;
  const std::vector<std::int32_t> labels(40 * 40 * 40, 2);
  const auto image = contrast_image(options, labels, {40, 40, 40}, 5);
  const std::set<float> levels(image.begin(), image.end());
  CHECK(levels.size() == 3);
  std::int64_t alike = 0;
  for (std::size_t i = 1; i < image.size(); ++i) alike += image[i] == image[i - 1];
  CHECK(alike > static_cast<std::int64_t>(image.size()) * 3 / 4);
  CHECK(contrast_image(options, labels, {40, 40, 40}, 5) == image);
}

TEST_CASE("parts stay within a class's number whatever the field") {
  for (const std::int32_t parts : {1, 2, 6, 64})
    for (const float field : {-1e9F, -90.0F, -6.0F, 0.0F, 6.0F, 90.0F, 1e9F}) CHECK((contrast_part(field, parts) >= 0 && contrast_part(field, parts) < parts));
}

TEST_CASE("ranges and labels that make no sense are refused") {
  VolumeContrastOptions options;
  options.mean = {5, 4};
  CHECK_THROWS_AS(check(options), ValueError);
  options.mean = {4, 5};
  options.subclusters = {2, 1};
  CHECK_THROWS_AS(check(options), ValueError);
  options.subclusters = {1, 65};
  CHECK_THROWS_AS(check(options), ValueError);
  options.subclusters = {1, 2};
  options.subcluster_scale = 0;
  CHECK_THROWS_AS(check(options), ValueError);
  options.subcluster_scale = 5;
  CHECK_THROWS_AS(contrast_image(options, {0, 2000000}, {1, 1, 2}, 1), ValueError);
}
