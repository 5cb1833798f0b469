// Gaussian blur along three axes in one pass over the volume: planes are blurred along z and y as they come, and kept in a ring for the sum along x.

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "core/simd.h"
#include "transforms/volume_intensity.h"
#include "transforms/voxel.h"

namespace sslmed::transforms {
namespace {

typedef float BlurLanes __attribute__((vector_size(32), aligned(32)));
constexpr std::int64_t kBlurLanes = 8;

// From any place: a vector type of a lower alignment would be read as an aligned one where registers are narrower.
SSLMED_INLINE BlurLanes lanes_at(const float* from) {
  BlurLanes lanes;
  __builtin_memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

// into[i] = Σ weights[k] · (rows[r - k][i] + rows[r + k][i]), weights[0] counted once. Four registers of sums, so that each weight is read for many.
SSLMED_CLONES void weigh_rows(const float* const* rows, const float* weights, std::int64_t radius, std::int64_t n, float* into) {
  std::int64_t i = 0;
  for (; i + 4 * kBlurLanes <= n; i += 4 * kBlurLanes) {
    const float* middle = rows[radius] + i;
    BlurLanes sums[4];
    for (int l = 0; l < 4; ++l) sums[l] = weights[0] * lanes_at(middle + l * kBlurLanes);
    for (std::int64_t k = 1; k <= radius; ++k) {
      const float *before = rows[radius - k] + i, *after = rows[radius + k] + i;
      for (int l = 0; l < 4; ++l) sums[l] += weights[k] * (lanes_at(before + l * kBlurLanes) + lanes_at(after + l * kBlurLanes));
    }
    __builtin_memcpy(into + i, sums, sizeof sums);
  }
  for (; i < n; ++i) {
    float sum = weights[0] * rows[radius][i];
    for (std::int64_t k = 1; k <= radius; ++k) sum += weights[k] * (rows[radius - k][i] + rows[radius + k][i]);
    into[i] = sum;
  }
}

class VolumeBlur {
 public:
  VolumeBlur(const FloatVolume& volume, const std::array<double, 3>& sigma)
      : volume_(volume), ny_(volume.shape[1]), nz_(volume.shape[2]), plane_(ny_ * nz_), stride_((plane_ / 16 + 5) * 16) {
    for (std::size_t a = 0; a < 3; ++a) weights_[a] = half_gaussian(sigma[a] / volume.spacing[a]);
    const auto radius_of = [&](std::size_t a) { return static_cast<std::int64_t>(weights_[a].size()) - 1; };
    rx_ = radius_of(0);
    ry_ = radius_of(1);
    rz_ = radius_of(2);
    slots_ = std::min(volume.shape[0], 2 * rx_ + 1);
    ring_.resize(static_cast<std::size_t>(slots_ * stride_));
    across_.resize(static_cast<std::size_t>(plane_));
    padded_.resize(static_cast<std::size_t>(nz_ + 2 * rz_));
    rows_.resize(static_cast<std::size_t>(2 * std::max({rx_, ry_, rz_}) + 1));
  }

  void run() {
    const auto nx = volume_.shape[0];
    std::int64_t entered = 0;
    for (std::int64_t x = 0; x < nx; ++x) {
      for (; entered < std::min(nx, x + rx_ + 1); ++entered) enter(entered);
      for (std::int64_t k = 0; k <= 2 * rx_; ++k) rows_[static_cast<std::size_t>(k)] = slot(reflected(x + k - rx_, nx));
      weigh_rows(rows_.data(), weights_[0].data(), rx_, plane_, volume_.values + x * plane_);
    }
  }

 private:
  // A stride that is no power of two: planes of 128 × 128 would all lie in the same lines of the cache.
  float* slot(std::int64_t x) { return ring_.data() + x % slots_ * stride_; }

  // Plane x, blurred along z and y, into the ring.
  void enter(std::int64_t x) {
    const float* from = volume_.values + x * plane_;
    for (std::int64_t y = 0; y < ny_; ++y) along_z(from + y * nz_, across_.data() + y * nz_);
    float* into = slot(x);
    for (std::int64_t y = 0; y < ny_; ++y) {
      for (std::int64_t k = 0; k <= 2 * ry_; ++k) rows_[static_cast<std::size_t>(k)] = across_.data() + reflected(y + k - ry_, ny_) * nz_;
      weigh_rows(rows_.data(), weights_[1].data(), ry_, nz_, into + y * nz_);
    }
  }

  void along_z(const float* from, float* into) {
    std::copy_n(from, nz_, padded_.data() + rz_);
    for (std::int64_t k = 1; k <= rz_; ++k) {
      padded_[static_cast<std::size_t>(rz_ - k)] = from[reflected(-k, nz_)];
      padded_[static_cast<std::size_t>(rz_ + nz_ - 1 + k)] = from[reflected(nz_ - 1 + k, nz_)];
    }
    for (std::int64_t k = 0; k <= 2 * rz_; ++k) rows_[static_cast<std::size_t>(k)] = padded_.data() + k;
    weigh_rows(rows_.data(), weights_[2].data(), rz_, nz_, into);
  }

  const FloatVolume& volume_;
  std::int64_t ny_, nz_, plane_, stride_, slots_ = 0, rx_ = 0, ry_ = 0, rz_ = 0;
  std::array<std::vector<float>, 3> weights_;
  std::vector<float> ring_, across_, padded_;
  std::vector<const float*> rows_;
};

}  // namespace

std::vector<float> half_gaussian(double sigma) {
  if (sigma <= 1e-15) return {1.0F};
  const auto radius = static_cast<std::int64_t>(4 * sigma + 0.5);
  std::vector<double> exact;
  double sum = 0;
  for (std::int64_t k = 0; k <= radius; ++k) {
    exact.push_back(std::exp(-0.5 / (sigma * sigma) * static_cast<double>(k * k)));
    sum += (k == 0 ? 1 : 2) * exact.back();
  }
  std::vector<float> out;
  for (const double weight : exact) out.push_back(static_cast<float>(weight / sum));
  return out;
}

void volume_blur(const FloatVolume& volume, const std::array<double, 3>& sigma) {
  bool any = false;
  for (std::size_t a = 0; a < 3; ++a) {
    require(sigma[a] >= 0 && sigma[a] <= 1000 * volume.spacing[a], "sigma", sigma[a], "mm must be at least 0 and at most 1000 voxels");
    any = any || sigma[a] > 0;
  }
  if (any && volume.size() > 0) VolumeBlur(volume, sigma).run();
}

}  // namespace sslmed::transforms
