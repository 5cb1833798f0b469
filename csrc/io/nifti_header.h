#pragma once
// The headers of NIfTI-1 (348 bytes) and NIfTI-2 (540 bytes), checked and repaired as nibabel does.

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace sslmed::io {

enum class NiftiType : std::int16_t {
  kUint8 = 2,
  kInt16 = 4,
  kInt32 = 8,
  kFloat32 = 16,
  kFloat64 = 64,
  kRgb24 = 128,
  kInt8 = 256,
  kUint16 = 512,
  kUint32 = 768,
  kInt64 = 1024,
  kUint64 = 1280,
  kRgba32 = 2304,
};

// Bytes of one stored number (1 for RGB), and numbers of one cell (3 or 4 for RGB).
std::size_t stored_size(NiftiType type);
std::int64_t numbers_per_cell(NiftiType type);

inline constexpr std::size_t kNifti1Bytes = 348, kNifti2Bytes = 540;

struct NiftiHeader {
  int version = 1;
  bool is_single = true;    // header and values in one file
  bool is_swapped = false;  // not in this machine's byte order
  NiftiType type = NiftiType::kFloat32;
  std::vector<std::int64_t> shape;  // cells along the file's axes
  std::vector<double> spacing;      // one an axis: mm or s, where the file names units, else as it stands
  std::array<double, 16> affine{};  // row-major [4, 4]: cell (its middle) to mm, RAS+
  int affine_code = 0;              // what the affine leads to: 1 scanner, 2 aligned, 3 Talairach, 4 MNI, 5 template; 0: unknown
  bool is_scaled = false;
  double slope = 1, inter = 0;    // value = slope * stored + inter
  std::uint64_t data_offset = 0;  // bytes before the values
  std::string description;

  std::int64_t cells() const;
  std::uint64_t data_bytes() const;  // of the stored values
};

// Whether a path ends in one of these, in small or capital letters.
bool nifti_ending(const std::string& path, std::initializer_list<std::string_view> endings);

// Parses the first bytes of a file (all it has, where these are fewer than kNifti2Bytes). `path` is for messages, and its ending
// tells single files from pairs. What was repaired is described in `warnings`; FormatError otherwise.
NiftiHeader parse_nifti_header(const std::string& path, const std::uint8_t* bytes, std::size_t size, std::vector<std::string>& warnings);

}  // namespace sslmed::io
