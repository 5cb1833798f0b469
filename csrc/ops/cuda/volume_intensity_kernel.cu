// A thread takes voxels a grid apart. Noise comes in pairs of runs of four voxels, 32 apart, which two blocks of Philox
// make.

#include "core/philox.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/volume_intensity_kernel.h"

namespace sslmed::ops::cuda {
namespace {

constexpr int kVolumeThreads = 256;
constexpr std::int64_t kMostVolumeBlocks = 4096;

// The number of blocks, which is bounded; kernels get it, because their elements lie that many blocks apart.
unsigned volume_blocks(std::int64_t work) {
  const std::int64_t blocks = (work + kVolumeThreads - 1) / kVolumeThreads;
  return static_cast<unsigned>(blocks < kMostVolumeBlocks ? blocks : kMostVolumeBlocks);
}

__device__ inline std::int64_t volume_thread() { return static_cast<std::int64_t>(blockIdx.x) * kVolumeThreads + threadIdx.x; }

__global__ void volume_bias_kernel(float* values, VolumeSides sides, VolumeBiasField field, unsigned blocks) {
  for (std::int64_t row = blockIdx.x; row < sides.x * sides.y; row += blocks) {
    const auto bias = transforms::bias_row(field.coefficients, transforms::bias_place(row / sides.y, sides.x), transforms::bias_place(row % sides.y, sides.y));
    for (std::int64_t z = threadIdx.x; z < sides.z; z += kVolumeThreads)
      values[row * sides.z + z] *= transforms::bias_at(bias, static_cast<float>(transforms::bias_place(z, sides.z)));
  }
}

__global__ void volume_gamma_kernel(float* values, std::int64_t n, float gamma, unsigned blocks) {
  const auto exponent = transforms::gamma_of(gamma);
  for (std::int64_t i = volume_thread(); i < n; i += static_cast<std::int64_t>(blocks) * kVolumeThreads)
    values[i] = transforms::gamma_changed(values[i], exponent);
}

// Calls f(voxel, normal number) for eight voxels of run `eighth`.
template <class F>
__device__ inline void each_normal(std::int64_t eighth, std::int64_t n, VolumeNoiseKey key, F f) {
  constexpr std::int64_t kHalf = transforms::kNoiseRun / 2;
  const std::int64_t first = eighth / 8 * transforms::kNoiseRun + eighth % 8 * 4;
  const auto block = static_cast<std::uint64_t>(first) / 4, other = block + kHalf / 4;
  std::uint32_t radii[4] = {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), 0, 0};
  std::uint32_t angles[4] = {static_cast<std::uint32_t>(other), static_cast<std::uint32_t>(other >> 32), 0, 0};
  philox_rounds(radii, key.first, key.second);
  philox_rounds(angles, key.first, key.second);
  for (int i = 0; i < 4; ++i) {
    const auto pair = transforms::normals_of(radii[i], angles[i]);
    if (first + i < n) f(first + i, pair.first);
    if (first + kHalf + i < n) f(first + kHalf + i, pair.second);
  }
}

std::int64_t eighths(std::int64_t n) { return (n + transforms::kNoiseRun - 1) / transforms::kNoiseRun * 8; }

__global__ void volume_noise_kernel(float* values, std::int64_t n, float std, VolumeNoiseKey key, std::int64_t runs, unsigned blocks) {
  for (std::int64_t i = volume_thread(); i < runs; i += static_cast<std::int64_t>(blocks) * kVolumeThreads)
    each_normal(i, n, key, [&](std::int64_t voxel, float normal) { values[voxel] += std * normal; });
}

// Of each block the least and the largest value, into room [2, kVolumeExtremes].
__global__ void volume_extremes_kernel(const float* values, std::int64_t n, float* room) {
  __shared__ float least[kVolumeThreads / 32], most[kVolumeThreads / 32];
  float low = values[0], high = values[0];
  for (std::int64_t i = volume_thread(); i < n; i += static_cast<std::int64_t>(kVolumeExtremes) * kVolumeThreads) {
    low = values[i] < low ? values[i] : low;
    high = values[i] > high ? values[i] : high;
  }
  for (int offset = 16; offset > 0; offset /= 2) {
    const float other_low = __shfl_down_sync(0xffffffffu, low, offset), other_high = __shfl_down_sync(0xffffffffu, high, offset);
    low = other_low < low ? other_low : low;
    high = other_high > high ? other_high : high;
  }
  if (threadIdx.x % 32 == 0) {
    least[threadIdx.x / 32] = low;
    most[threadIdx.x / 32] = high;
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int warp = 1; warp < kVolumeThreads / 32; ++warp) {
    low = least[warp] < low ? least[warp] : low;
    high = most[warp] > high ? most[warp] : high;
  }
  room[blockIdx.x] = low;
  room[kVolumeExtremes + blockIdx.x] = high;
}

struct DeviceExtremes {
  float low, high;
};

__device__ inline DeviceExtremes volume_extremes(const float* room) {
  DeviceExtremes out{room[0], room[kVolumeExtremes]};
  for (int i = 1; i < kVolumeExtremes; ++i) {
    out.low = room[i] < out.low ? room[i] : out.low;
    out.high = room[kVolumeExtremes + i] > out.high ? room[kVolumeExtremes + i] : out.high;
  }
  return out;
}

__global__ void volume_inversion_kernel(float* values, std::int64_t n, const float* room, unsigned blocks) {
  const auto [low, high] = volume_extremes(room);
  for (std::int64_t i = volume_thread(); i < n; i += static_cast<std::int64_t>(blocks) * kVolumeThreads) values[i] = low + high - values[i];
}

__global__ void volume_unit_kernel(float* values, std::int64_t n, const float* room, unsigned blocks) {
  const auto [low, high] = volume_extremes(room);
  for (std::int64_t i = volume_thread(); i < n; i += static_cast<std::int64_t>(blocks) * kVolumeThreads)
    values[i] = high - low != 0 ? (values[i] - low) / (high - low) : 0;
}

__global__ void volume_blur_kernel(const float* from, float* into, std::int64_t n, std::int64_t length, std::int64_t step, const float* weights,
                                   std::int64_t radius, unsigned blocks) {
  for (std::int64_t i = volume_thread(); i < n; i += static_cast<std::int64_t>(blocks) * kVolumeThreads) {
    const std::int64_t place = i / step % length;
    const float* line = from + (i - place * step);
    float sum = weights[0] * from[i];
    for (std::int64_t k = 1; k <= radius; ++k)
      sum += weights[k] * (line[transforms::reflected(place - k, length) * step] + line[transforms::reflected(place + k, length) * step]);
    into[i] = sum;
  }
}

__device__ inline float field_at(const VolumeContrastTables& tables, std::int64_t x, std::int64_t y, std::int64_t z) {
  const auto px = transforms::field_place(x, tables.voxel_x), py = transforms::field_place(y, tables.voxel_y), pz = transforms::field_place(z, tables.voxel_z);
  const float* corner = tables.field + (px.cell * tables.nodes_y + py.cell) * tables.nodes_z + pz.cell;
  const auto face = [&](const float* at) {
    const float near = at[0] + py.share * (at[tables.nodes_z] - at[0]);
    const float* next = at + tables.nodes_y * tables.nodes_z;
    const float far = next[0] + py.share * (next[tables.nodes_z] - next[0]);
    return near + px.share * (far - near);
  };
  const float low = face(corner), high = face(corner + 1);
  return low + pz.share * (high - low);
}

__global__ void volume_contrast_kernel(const std::int32_t* labels, VolumeSides sides, VolumeContrastTables tables, VolumeNoiseKey key, std::int64_t runs,
                                       unsigned blocks, float* into) {
  for (std::int64_t i = volume_thread(); i < runs; i += static_cast<std::int64_t>(blocks) * kVolumeThreads)
    each_normal(i, sides.x * sides.y * sides.z, key, [&](std::int64_t voxel, float normal) {
      const auto row = tables.rows[labels[voxel] - tables.lowest];
      std::int32_t entry = row.first;
      if (tables.field != nullptr) {
        const std::int64_t z = voxel % sides.z, y = voxel / sides.z % sides.y, x = voxel / sides.z / sides.y;
        entry += transforms::contrast_part(field_at(tables, x, y, z), row.parts);
      }
      into[voxel] = transforms::contrast_value(tables.means[entry], tables.stds[entry], normal);
    });
}

}  // namespace

cudaError_t volume_bias(float* values, VolumeSides sides, const VolumeBiasField& field, cudaStream_t stream) {
  const std::int64_t rows = sides.x * sides.y;
  if (rows * sides.z == 0) return cudaSuccess;
  const auto blocks = static_cast<unsigned>(rows < kMostVolumeBlocks ? rows : kMostVolumeBlocks);
  return launch(&volume_bias_kernel, dim3{blocks, 1, 1}, kVolumeThreads, stream, values, sides, field, blocks);
}

cudaError_t volume_gamma(float* values, std::int64_t n, float gamma, cudaStream_t stream) {
  if (n == 0) return cudaSuccess;
  const auto blocks = volume_blocks(n);
  return launch(&volume_gamma_kernel, dim3{blocks, 1, 1}, kVolumeThreads, stream, values, n, gamma, blocks);
}

cudaError_t volume_noise(float* values, std::int64_t n, float std, VolumeNoiseKey key, cudaStream_t stream) {
  if (n == 0) return cudaSuccess;
  const auto blocks = volume_blocks(eighths(n));
  return launch(&volume_noise_kernel, dim3{blocks, 1, 1}, kVolumeThreads, stream, values, n, std, key, eighths(n), blocks);
}

cudaError_t volume_inversion(float* values, std::int64_t n, float* room, cudaStream_t stream) {
  if (n == 0) return cudaSuccess;
  const auto error = launch(&volume_extremes_kernel, dim3{kVolumeExtremes, 1, 1}, kVolumeThreads, stream, static_cast<const float*>(values), n, room);
  if (error != cudaSuccess) return error;
  const auto blocks = volume_blocks(n);
  return launch(&volume_inversion_kernel, dim3{blocks, 1, 1}, kVolumeThreads, stream, values, n, static_cast<const float*>(room), blocks);
}

cudaError_t volume_to_unit(float* values, std::int64_t n, float* room, cudaStream_t stream) {
  if (n == 0) return cudaSuccess;
  const auto error = launch(&volume_extremes_kernel, dim3{kVolumeExtremes, 1, 1}, kVolumeThreads, stream, static_cast<const float*>(values), n, room);
  if (error != cudaSuccess) return error;
  const auto blocks = volume_blocks(n);
  return launch(&volume_unit_kernel, dim3{blocks, 1, 1}, kVolumeThreads, stream, values, n, static_cast<const float*>(room), blocks);
}

cudaError_t volume_blur_axis(const float* from, float* into, VolumeSides sides, int axis, const float* weights, std::int64_t radius, cudaStream_t stream) {
  const std::int64_t n = sides.x * sides.y * sides.z;
  if (n == 0) return cudaSuccess;
  const std::int64_t length = axis == 0 ? sides.x : axis == 1 ? sides.y : sides.z, step = axis == 0 ? sides.y * sides.z : axis == 1 ? sides.z : 1;
  const auto blocks = volume_blocks(n);
  return launch(&volume_blur_kernel, dim3{blocks, 1, 1}, kVolumeThreads, stream, from, into, n, length, step, weights, radius, blocks);
}

cudaError_t volume_contrast(const std::int32_t* labels, VolumeSides sides, const VolumeContrastTables& tables, VolumeNoiseKey key, float* into,
                            cudaStream_t stream) {
  const std::int64_t n = sides.x * sides.y * sides.z;
  if (n == 0) return cudaSuccess;
  const auto blocks = volume_blocks(eighths(n));
  return launch(&volume_contrast_kernel, dim3{blocks, 1, 1}, kVolumeThreads, stream, labels, sides, tables, key, eighths(n), blocks, into);
}

}  // namespace sslmed::ops::cuda
