#include "io/nifti_write.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "core/file.h"
#include "io/gzip.h"

namespace sslmed::io {
namespace {

static_assert(std::endian::native == std::endian::little, "values are written as they are in memory");

// The header's bytes, filled field by field; NIfTI-2 has wider types.
class NiftiHeaderBytes {
 public:
  explicit NiftiHeaderBytes(int version) : second_(version == 2), bytes_(second_ ? kNifti2Bytes : kNifti1Bytes) {}

  template <class T>
  void put(std::size_t offset, T value) {
    std::memcpy(bytes_.data() + offset, &value, sizeof(T));
  }
  void text(std::size_t first, std::size_t second, const char* from, std::size_t size) { std::memcpy(bytes_.data() + (second_ ? second : first), from, size); }
  void real(std::size_t first, std::size_t second, std::size_t i, double value) {
    second_ ? put(second + 8 * i, value) : put(first + 4 * i, static_cast<float>(value));
  }
  void dim(std::size_t i, std::int64_t value) { second_ ? put(16 + 8 * i, value) : put(40 + 2 * i, static_cast<std::int16_t>(value)); }
  void short_or_int(std::size_t first, std::size_t second, int value) {
    second_ ? put(second, static_cast<std::int32_t>(value)) : put(first, static_cast<std::int16_t>(value));
  }
  void qform_code(int code) { short_or_int(252, 344, code); }
  std::vector<std::uint8_t>& bytes() { return bytes_; }

 private:
  bool second_;
  std::vector<std::uint8_t> bytes_;
};

// The quaternion (w, x, y, z) of a rotation, w >= 0, from its largest component, which loses no digits.
std::array<double, 4> quaternion_of(const std::array<double, 9>& r) {
  const std::array<double, 4> squares{1 + r[0] + r[4] + r[8], 1 + r[0] - r[4] - r[8], 1 - r[0] + r[4] - r[8], 1 - r[0] - r[4] + r[8]};
  const double wx = r[7] - r[5], wy = r[2] - r[6], wz = r[3] - r[1], xy = r[1] + r[3], xz = r[2] + r[6], yz = r[5] + r[7];
  const auto largest = std::max_element(squares.begin(), squares.end()) - squares.begin();
  const double s = 2 * std::sqrt(squares[static_cast<std::size_t>(largest)]);
  std::array<double, 4> q = largest == 0   ? std::array<double, 4>{s / 4, wx / s, wy / s, wz / s}
                            : largest == 1 ? std::array<double, 4>{wx / s, s / 4, xy / s, xz / s}
                            : largest == 2 ? std::array<double, 4>{wy / s, xy / s, s / 4, yz / s}
                                           : std::array<double, 4>{wz / s, xz / s, yz / s, s / 4};
  if (q[0] < 0)
    for (auto& value : q) value = -value;
  return q;
}

// A qform beside the sform, for readers that know no other; only where it says the same.
void put_qform(const std::string& path, const NiftiWriteOptions& options, NiftiHeaderBytes& header) {
  std::array<double, 9> rotation;
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t j = 0; j < 3; ++j) rotation[3 * i + j] = options.affine[4 * i + j] / (j < options.spacing.size() ? options.spacing[j] : 1);
  const auto& r = rotation;
  const double volume = r[0] * (r[4] * r[8] - r[5] * r[7]) - r[1] * (r[3] * r[8] - r[5] * r[6]) + r[2] * (r[3] * r[7] - r[4] * r[6]);
  const double handed = volume < 0 ? -1 : 1;
  for (std::size_t i = 0; i < 3; ++i) rotation[3 * i + 2] *= handed;
  const auto q = quaternion_of(rotation);
  if (!std::all_of(q.begin(), q.end(), [](double v) { return std::isfinite(v); })) return;
  header.real(76, 104, 0, handed);
  for (std::size_t i = 0; i < 3; ++i) {
    header.real(256, 352, i, q[i + 1]);
    header.real(268, 376, i, options.affine[4 * i + 3]);
  }
  header.qform_code(options.affine_code);
  // Shears, or spacings that are not those of the affine: the reader's own verdict.
  std::vector<std::string> warnings;
  (void)parse_nifti_header(path, header.bytes().data(), header.bytes().size(), warnings);
  if (!warnings.empty()) header.qform_code(0);
}

void check_options(const std::string& path, const NiftiWriteOptions& o) {
  const auto refuse = [&](const std::string& what) { throw ValueError(path + ": " + what); };
  if (o.version != 1 && o.version != 2) refuse("version=" + std::to_string(o.version) + " must be 1 or 2");
  if (stored_size(o.type) == 0) refuse("type=" + std::to_string(static_cast<int>(o.type)) + " is no datatype that can be written");
  if (o.shape.empty() || o.shape.size() > 7) refuse("data must have 1 to 7 axes, got " + std::to_string(o.shape.size()));
  for (const auto side : o.shape) {
    if (side < 1) refuse("data must have one cell or more along every axis, got " + std::to_string(side));
    if (o.version == 1 && side > 32767) refuse("an axis of " + std::to_string(side) + " cells needs version=2: NIfTI-1 has 32767 at most");
  }
  if (o.spacing.size() != o.shape.size())
    refuse("spacing must have one value an axis (" + std::to_string(o.shape.size()) + "), got " + std::to_string(o.spacing.size()));
  for (std::size_t i = 0; i < o.spacing.size(); ++i)
    if (!std::isfinite(o.spacing[i]) || (i < 3 && !(o.spacing[i] > 0)) || o.spacing[i] < 0)
      refuse("spacing must be finite and above 0, got " + std::to_string(o.spacing[i]) + " along axis " + std::to_string(i));
  for (const double value : o.affine)
    if (!std::isfinite(value)) refuse("affine must be finite, got " + std::to_string(value));
  if (o.affine[12] != 0 || o.affine[13] != 0 || o.affine[14] != 0 || o.affine[15] != 1) refuse("the last row of affine must be (0, 0, 0, 1)");
  if (o.affine_code < 1 || o.affine_code > 5) refuse("affine_code=" + std::to_string(o.affine_code) + " must be from 1 to 5");
  if (!std::isfinite(o.slope) || o.slope == 0) refuse("slope=" + std::to_string(o.slope) + " must be finite and not 0");
  if (!std::isfinite(o.inter)) refuse("inter=" + std::to_string(o.inter) + " must be finite");
  if (o.description.size() > 79) refuse("description must have at most 79 bytes, got " + std::to_string(o.description.size()));
}

std::vector<std::uint8_t> extension_bytes(const NiftiWriteOptions& options) {
  std::vector<std::uint8_t> out(4, 0);
  out[0] = options.extensions.empty() ? 0 : 1;
  for (const auto& extension : options.extensions) {
    if (extension.bytes.size() > (std::size_t{1} << 30)) throw ValueError("an extension must have at most 2^30 bytes");
    const auto size = static_cast<std::int32_t>((extension.bytes.size() + 8 + 15) / 16 * 16);
    const std::size_t at = out.size();
    out.resize(at + static_cast<std::size_t>(size));
    std::memcpy(out.data() + at, &size, 4);
    std::memcpy(out.data() + at + 4, &extension.code, 4);
    std::memcpy(out.data() + at + 8, extension.bytes.data(), extension.bytes.size());
  }
  return out;
}

std::vector<std::uint8_t> header_and_extensions(const std::string& path, const NiftiWriteOptions& options) {
  const auto extensions = extension_bytes(options);
  NiftiHeaderBytes header(options.version);
  const bool second = options.version == 2;
  const std::size_t size = second ? kNifti2Bytes : kNifti1Bytes, offset = (size + extensions.size() + 15) / 16 * 16;
  header.put(0, static_cast<std::int32_t>(size));
  header.text(344, 4, second ? "n+2" : "n+1", 4);
  if (second) header.text(0, 8, "\r\n\x1a\n", 4);
  header.put(second ? 12 : 70, static_cast<std::int16_t>(options.type));
  const auto bits = static_cast<std::int64_t>(8 * stored_size(options.type)) * numbers_per_cell(options.type);
  header.put(second ? 14 : 72, static_cast<std::int16_t>(bits));
  for (std::size_t i = 0; i < 8; ++i) {
    header.dim(i, i == 0 ? static_cast<std::int64_t>(options.shape.size()) : i <= options.shape.size() ? options.shape[i - 1] : 1);
    header.real(76, 104, i, i > 0 && i <= options.spacing.size() ? options.spacing[i - 1] : 1);
  }
  second ? header.put(168, static_cast<std::int64_t>(offset)) : header.put(108, static_cast<float>(offset));
  header.real(112, 176, 0, options.slope);
  header.real(116, 184, 0, options.inter);
  second ? header.put(500, std::int32_t{10}) : header.put(123, std::uint8_t{10});  // mm and s
  header.text(148, 240, options.description.c_str(), options.description.size());
  header.short_or_int(254, 348, options.affine_code);
  for (std::size_t i = 0; i < 12; ++i) header.real(280, 400, i, options.affine[i]);
  put_qform(path, options, header);
  auto out = std::move(header.bytes());
  out.insert(out.end(), extensions.begin(), extensions.end());
  out.resize(offset);
  return out;
}

}  // namespace

void write_nifti(const std::string& path, const NiftiWriteOptions& options, const void* stored) {
  const bool plain = nifti_ending(path, {".nii"}), packed = nifti_ending(path, {".nii.gz"});
  if (!plain && !packed) throw ValueError(path + ": a NIfTI file is written under a name that ends in .nii or .nii.gz");
  check_options(path, options);
  auto start = header_and_extensions(path, options);
  NiftiHeader sizes;
  sizes.type = options.type;
  sizes.shape = options.shape;
  const auto bytes = static_cast<std::size_t>(sizes.data_bytes());
  if (plain) {
    AtomicFile file(path);
    file.write(start.data(), start.size());
    file.write(stored, bytes);
    file.commit();
    return;
  }
  RawBytes whole(start.size() + bytes);
  std::memcpy(whole.data.get(), start.data(), start.size());
  std::memcpy(whole.data.get() + start.size(), stored, bytes);
  const auto compressed = gzip(whole.data.get(), whole.size, options.compression);
  AtomicFile file(path);
  file.write(compressed.data(), compressed.size());
  file.commit();
}

}  // namespace sslmed::io
