#pragma once
// Intensities of volumes on a GPU: the steps that change each voxel by itself, and blur. Formulas are those of transforms/voxel.h, so results are the
// CPU's but for rounding, and noise has the CPU's numbers. Ghosting and motion are done on the CPU alone.
// Launchers on raw pointers, without torch headers. All pointers lie on the device; volumes are float32 [nx, ny, nz].

#include <cuda_runtime_api.h>

#include <cstdint>

#include "transforms/voxel.h"

namespace sslmed::ops::cuda {

struct VolumeSides {
  std::int64_t x, y, z;
};

struct VolumeBiasField {
  double coefficients[transforms::kBiasCoefficients];  // of order 3
};
cudaError_t volume_bias(float* values, VolumeSides sides, const VolumeBiasField& field, cudaStream_t stream);

cudaError_t volume_gamma(float* values, std::int64_t n, float gamma, cudaStream_t stream);

struct VolumeNoiseKey {
  std::uint32_t first, second;
};
cudaError_t volume_noise(float* values, std::int64_t n, float std, VolumeNoiseKey key, cudaStream_t stream);

// Room for kVolumeExtremes partial minima and as many maxima.
constexpr int kVolumeExtremes = 128;
// max + min - value
cudaError_t volume_inversion(float* values, std::int64_t n, float* room, cudaStream_t stream);
// (value - min) / (max - min), or zeros where all values are equal
cudaError_t volume_to_unit(float* values, std::int64_t n, float* room, cudaStream_t stream);

// One axis of a Gaussian: weights [radius + 1], the middle one first (transforms::half_gaussian). from and into are different volumes.
cudaError_t volume_blur_axis(const float* from, float* into, VolumeSides sides, int axis, const float* weights, std::int64_t radius, cudaStream_t stream);

// An image from labels, as transforms::apply_contrast makes it from the same tables.
struct VolumeContrastTables {
  std::int32_t lowest;  // label of row 0
  const transforms::ContrastRow* rows;
  const float *means, *stds;
  const float* field;  // [nodes]; null where every class has one part
  std::int64_t nodes_y, nodes_z;
  double voxel_x, voxel_y, voxel_z;  // how many nodes a voxel is wide
};
cudaError_t volume_contrast(const std::int32_t* labels, VolumeSides sides, const VolumeContrastTables& tables, VolumeNoiseKey key, float* into,
                            cudaStream_t stream);

}  // namespace sslmed::ops::cuda
