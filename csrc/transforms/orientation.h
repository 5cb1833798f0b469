#pragma once
// Which way the axes of a volume point, and the volume with its axes to the right, to the front and up (RAS+).

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace sslmed::transforms {

using Affine3 = std::array<double, 16>;  // row-major [4, 4]: cell (its middle) to mm, RAS+

struct Orientation {
  std::array<std::size_t, 3> axis{0, 1, 2};  // of the source, which becomes the result's first, second and third
  std::array<bool, 3> flip{};                // whether the result's axis runs against the source's

  std::string text() const;  // of the source's axes, "LAS"
};

// The permutation and flips nearest to RAS+, as nibabel's as_closest_canonical has them. ValueError for a singular affine.
Orientation closest_canonical(const Affine3& affine);
// The affine of a volume of `shape` (the source's) after its axes were brought to RAS+.
Affine3 reoriented(const Affine3& affine, const std::array<std::int64_t, 3>& shape, const Orientation& orientation);
// The volume itself: from values whose first axis runs fastest to values whose last axis runs fastest.
std::vector<float> reorient(const std::vector<float>& values, const std::array<std::int64_t, 3>& shape, const Orientation& orientation);

Affine3 inverse(const Affine3& affine);  // ValueError where it is singular
Affine3 product(const Affine3& a, const Affine3& b);

// Samples a volume [X, Y, Z], Z fastest, at cells of another grid: source cell = map · cell of the result. Linear, or the
// nearest cell; what lies outside of the source gets the nearest edge.
void sample_linear(const float* source, const std::array<std::int64_t, 3>& from, const Affine3& map, const std::array<std::int64_t, 3>& to, float* into);
void sample_nearest(const float* source, const std::array<std::int64_t, 3>& from, const Affine3& map, const std::array<std::int64_t, 3>& to, float* into);

}  // namespace sslmed::transforms
