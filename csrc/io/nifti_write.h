#pragma once
// Writing NIfTI-1 and -2 as single files, in little-endian order.

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "io/nifti.h"

namespace sslmed::io {

struct NiftiWriteOptions {
  NiftiType type = NiftiType::kFloat32;
  std::vector<std::int64_t> shape;  // cells along the file's axes, without the colors
  std::array<double, 16> affine{};  // row-major [4, 4]: cell (its middle) to mm, RAS+
  std::vector<double> spacing;      // one an axis: mm, and s along the fourth
  int affine_code = 2;              // 1 scanner, 2 aligned, 3 Talairach, 4 MNI, 5 template
  double slope = 1, inter = 0;      // value = slope * stored + inter
  std::vector<NiftiExtension> extensions;
  std::string description;  // at most 79 bytes
  int version = 1;
  int compression = 6;  // of .nii.gz: 0 (stored) to 12
};

// Writes `stored` (cells, times three or four for RGB; the first axis fastest) atomically to a path that ends in .nii or .nii.gz.
// Equal input gives equal bytes. ValueError for what the format cannot hold.
void write_nifti(const std::string& path, const NiftiWriteOptions& options, const void* stored);

}  // namespace sslmed::io
