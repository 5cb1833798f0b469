// The CUDA kernels of spatial transforms against the CPU's loops, on threads of the CPU.

#include <catch2/catch.hpp>
#include <vector>

#include "ops/cuda/volume_spatial_kernel.cu"
#include "transforms/volume_reference.h"
#include "transforms/volume_spatial.h"

using namespace sslmed;
using namespace sslmed::transforms;

namespace {

// Two volumes, as the launch code sends them.
template <class T>
std::vector<T> by_kernel(const VolumeWarp& warp, const std::vector<T>& volumes, VolumeInterpolation how, T outside, unsigned& folded) {
  const auto& map = warp.map();
  const std::vector<double> beyond(2, static_cast<double>(outside));
  ops::cuda::WarpJob job{};
  job.steps = warp.steps().steps.data();
  job.n = static_cast<std::int64_t>(warp.steps().steps.size());
  job.controls = warp.steps().controls.data();
  job.volumes = 2;
  std::copy(map.from.begin(), map.from.end(), job.from);
  std::copy(map.to.begin(), map.to.end(), job.to);
  job.how = static_cast<std::int32_t>(how);
  job.outside = beyond.data();
  job.folded = &folded;
  std::vector<T> out(2 * reference::cells_of(map.to));
  REQUIRE(ops::cuda::warp_volume(job, volumes.data(), out.data(), nullptr) == cudaSuccess);
  return out;
}

template <class T>
double apart(const VolumeMap& map, std::vector<T> volume, VolumeInterpolation how) {
  const VolumeWarp warp(map);
  const auto cells = volume.size();
  volume.insert(volume.end(), volume.rbegin(), volume.rend());
  unsigned folded = 0;
  const auto found = by_kernel(warp, volume, how, T{9}, folded);
  CHECK(folded == 0);
  double out = 0;
  for (std::size_t v = 0; v < 2; ++v) {
    std::vector<T> expected(found.size() / 2);
    warp.apply(volume.data() + v * cells, how, T{9}, expected.data());
    for (std::size_t i = 0; i < expected.size(); ++i)
      out = std::max(out, std::abs(static_cast<double>(expected[i]) - static_cast<double>(found[v * expected.size() + i])));
  }
  return out;
}

std::vector<VolumeMap> maps() {
  Philox random({1, 0, 0}, Stream::kGrid);
  const VolumeShape shape{7, 8, 9};
  const auto identity = VolumeMap::identity(shape, {1, 1.2, 0.9});
  const auto field = reference::random_field({5, 6, 7}, 1, random);
  auto out = std::vector<VolumeMap>{identity, identity, identity, identity, VolumeMap::identity({1, 6, 1}, {1, 1, 1})};
  out[0].flip(1).window({-1, 2, 0}, {6, 7, 9});
  out[1].affine({1.1, 0.9, 1}, {10, 20, 30}, {0.5, 0.2, 0.1}).elastic(field).flip(0);
  out[2] = VolumeMap(out[1]).inverse();
  out[3].resample({0.77, 1.7, 0.9});
  out[4].affine({1.1, 0.9, 1}, {0, 0, 0}, {0.2, 0.2, 0.1});
  return out;
}

}  // namespace

TEST_CASE("spatial kernels give the CPU's volumes") {
  for (const auto& map : maps()) {
    const auto labels = reference::blocks(map.from, 3);
    CHECK(apart(map, reference::noise(map.from, 1), VolumeInterpolation::kLinear) < 3e-4);  // the inverse ends its search elsewhere
    CHECK(apart(map, labels, VolumeInterpolation::kNearest) == 0);
    CHECK(apart(map, labels, VolumeInterpolation::kLabel) == 0);
    CHECK(apart(map, std::vector<std::uint8_t>(labels.begin(), labels.end()), VolumeInterpolation::kLabel) == 0);
  }
}

TEST_CASE("spatial kernels count the cells that a folded displacement leaves without an origin") {
  Philox random({7, 0, 0}, Stream::kGrid);
  const VolumeShape shape{9, 11, 13};
  const VolumeWarp warp(VolumeMap::identity(shape, {1.5, 1, 0.8}).elastic(reference::random_field({7, 7, 7}, 20, random)).inverse());
  const std::vector<float> volumes(2 * reference::cells_of(shape), 1.0F);
  unsigned folded = 0;
  by_kernel(warp, volumes, VolumeInterpolation::kLinear, 0.0F, folded);
  CHECK(folded > 0);
}

TEST_CASE("the kernel of lost resolution gives the CPU's volume") {
  const VolumeShape shape{7, 8, 9};
  const auto volume = reference::noise(shape, 2);
  for (std::size_t axis = 0; axis < 3; ++axis)
    for (const double factor : {1.0, 1.7, 3.4, 50.0}) {
      auto expected = volume;
      lose_resolution(shape, axis, factor, expected.data(), expected.data());
      const auto taps = resolution_taps(shape[axis], factor);
      const std::int64_t before = axis == 0 ? 1 : axis == 1 ? shape[0] : shape[0] * shape[1];
      const ops::cuda::TapsJob job{taps.index.data(), taps.weight.data(), taps.taps, before, taps.cells, 504 / before / taps.cells};
      std::vector<float> found(volume.size());
      REQUIRE(ops::cuda::weigh_taps(job, volume.data(), found.data(), nullptr) == cudaSuccess);
      for (std::size_t i = 0; i < found.size(); ++i) CHECK(found[i] == Approx(expected[i]).margin(1e-6));
    }
}
