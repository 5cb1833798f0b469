#pragma once
// Parts of k-space along one axis taken from other volumes: what ghosting and motion are made of. On the CPU alone.
// A real share of each plane of k-space, of which the real part is kept afterwards, is a convolution along the axis with an even kernel. It is done by
// that kernel, halved by its symmetry, and not by Fourier transforms: lengths of volumes have large prime factors as often as not, and up to a few hundred
// voxels a line the product is no slower.

#include <cstdint>
#include <vector>

#include "transforms/volume_intensity.h"

namespace sslmed::transforms {

struct SpectrumPart {
  const float* values;         // a volume of the same shape; null: zeros
  std::vector<double> shares;  // of each plane of k-space along the axis, its center at n / 2: how much of it comes from there
};

// The volume becomes the real part of what has (1 - Σ shares) of its own spectrum and shares of the others'.
void mix_spectra(const FloatVolume& volume, int axis, const std::vector<SpectrumPart>& parts);

// into [X, Y, Z]: what the volume looks like after a movement (TorchIO's and ITK's direction: into(p) = volume(R(p - center) + center + translation)),
// linearly interpolated; `fill` where that is more than half a voxel outside.
void move_rigidly(const FloatVolume& volume, const Movement& movement, const std::array<double, 3>& center, float fill, float* into);

}  // namespace sslmed::transforms
