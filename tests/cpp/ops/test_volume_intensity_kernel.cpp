// The CUDA kernels of volumes' intensities, on threads of the CPU, against the CPU's.

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "ops/cuda/volume_intensity_kernel.cu"
#include "transforms/volume_contrast.h"
#include "transforms/volume_intensity.h"

using namespace sslmed;
using namespace sslmed::transforms;

namespace {

// More rows and voxels than one block of threads has, and no multiple of a run of noise.
constexpr std::int64_t kX = 3, kY = 5, kZ = 301, kVoxels = kX * kY * kZ;
constexpr ops::cuda::VolumeSides kSides{kX, kY, kZ};

std::vector<float> some_values() {
  std::vector<float> values(kVoxels);
  normal_numbers({1, 2}, 0, kVoxels, values.data());
  return values;
}

FloatVolume view_of(std::vector<float>& values) { return {values.data(), {kX, kY, kZ}, {1, 1, 1}}; }

void check_close(const std::vector<float>& got, const std::vector<float>& want, double tolerance = 2e-6) {
  double most = 0, scale = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    most = std::max(most, std::abs(static_cast<double>(got[i]) - static_cast<double>(want[i])));
    scale = std::max(scale, std::abs(static_cast<double>(want[i])));
  }
  CHECK(most <= tolerance * scale);
}

}  // namespace

TEST_CASE("a bias field, gamma and noise on a GPU are the CPU's") {
  auto cpu = some_values(), gpu = cpu;
  std::vector<double> coefficients;
  for (int i = 0; i < 20; ++i) coefficients.push_back(0.05 * i - 0.5);
  ops::cuda::VolumeBiasField field{};
  std::copy(coefficients.begin(), coefficients.end(), field.coefficients);
  volume_bias(view_of(cpu), coefficients);
  REQUIRE(ops::cuda::volume_bias(gpu.data(), kSides, field, nullptr) == cudaSuccess);
  check_close(gpu, cpu);
  gpu = cpu;
  volume_gamma(cpu.data(), kVoxels, 0.8);
  REQUIRE(ops::cuda::volume_gamma(gpu.data(), kVoxels, 0.8F, nullptr) == cudaSuccess);
  check_close(gpu, cpu);
  gpu = cpu;
  volume_noise(cpu.data(), kVoxels, 0.3, {11, 12});
  REQUIRE(ops::cuda::volume_noise(gpu.data(), kVoxels, 0.3F, {11, 12}, nullptr) == cudaSuccess);
  check_close(gpu, cpu);
}

TEST_CASE("inversion and scaling on a GPU are the CPU's") {
  std::vector<float> room(2 * ops::cuda::kVolumeExtremes, -77);
  auto cpu = some_values(), gpu = cpu;
  volume_inversion(cpu.data(), kVoxels);
  REQUIRE(ops::cuda::volume_inversion(gpu.data(), kVoxels, room.data(), nullptr) == cudaSuccess);
  check_close(gpu, cpu);
  gpu = cpu;
  volume_to_unit(cpu.data(), kVoxels);
  REQUIRE(ops::cuda::volume_to_unit(gpu.data(), kVoxels, room.data(), nullptr) == cudaSuccess);
  check_close(gpu, cpu);
  std::vector<float> flat(7, 3);
  REQUIRE(ops::cuda::volume_to_unit(flat.data(), 7, room.data(), nullptr) == cudaSuccess);
  CHECK(flat == std::vector<float>(7, 0));
}

TEST_CASE("blur along three axes on a GPU is the CPU's") {
  auto cpu = some_values(), gpu = cpu, other = cpu;
  const std::array<double, 3> sigma{1.2, 3, 0.7};
  volume_blur(view_of(cpu), sigma);
  for (int axis = 0; axis < 3; ++axis) {
    const auto weights = half_gaussian(sigma[static_cast<std::size_t>(axis)]);
    REQUIRE(ops::cuda::volume_blur_axis(gpu.data(), other.data(), kSides, axis, weights.data(), static_cast<std::int64_t>(weights.size()) - 1, nullptr) ==
            cudaSuccess);
    gpu.swap(other);
  }
  check_close(gpu, cpu);
}

TEST_CASE("images from labels on a GPU are the CPU's") {
  VolumeContrastOptions options;
  options.subclusters = {1, GENERATE(1, 6)};
  options.subcluster_scale = 4;
  std::vector<std::int32_t> labels;
  for (std::int64_t i = 0; i < kVoxels; ++i) labels.push_back(static_cast<std::int32_t>(i / 50 % 4) - 1);
  Philox random({8, 0, 0}, Stream::kAugment);
  const auto plan = plan_contrast(options, random);
  const LabelVolume volume{labels.data(), {kX, kY, kZ}, {1, 2, 0.5}};
  std::vector<float> cpu(kVoxels), gpu(kVoxels, -1);
  apply_contrast(plan, volume, cpu.data());
  const auto table = contrast_table(plan, volume);
  const auto field = contrast_field(plan, volume);
  const ops::cuda::VolumeContrastTables tables{
      table.lowest,   table.rows.data(), table.means.data(), table.stds.data(), table.most_parts > 1 ? field.values.data() : nullptr,
      field.nodes[1], field.nodes[2],    field.voxel[0],     field.voxel[1],    field.voxel[2]};
  REQUIRE(ops::cuda::volume_contrast(labels.data(), kSides, tables, {plan.key[0], plan.key[1]}, gpu.data(), nullptr) == cudaSuccess);
  // A voxel next to the border between two parts may round to the other one.
  std::int64_t apart = 0;
  for (std::size_t i = 0; i < cpu.size(); ++i) apart += std::abs(cpu[i] - gpu[i]) > 1e-6F;
  CHECK(apart <= 2);
}
