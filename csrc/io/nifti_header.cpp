#include "io/nifti_header.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string_view>

#include "core/error.h"

namespace sslmed::io {
namespace {

constexpr std::int64_t kMostCells = std::int64_t{1} << 56;

// Where the fields of a version are, and of which types. Reads them in the file's byte order.
class NiftiFields {
 public:
  NiftiFields(const std::uint8_t* bytes, int version, bool swapped) : bytes_(bytes), second_(version == 2), swapped_(swapped) {}

  template <class T>
  T get(std::size_t offset) const {
    std::array<std::uint8_t, sizeof(T)> raw;
    std::memcpy(raw.data(), bytes_ + offset, sizeof(T));
    if (swapped_) std::reverse(raw.begin(), raw.end());
    return std::bit_cast<T>(raw);
  }
  std::int64_t dim(std::size_t i) const { return second_ ? get<std::int64_t>(16 + 8 * i) : get<std::int16_t>(40 + 2 * i); }
  double pixdim(std::size_t i) const { return real(76, 104, i); }
  double slope() const { return real(112, 176, 0); }
  double inter() const { return real(116, 184, 0); }
  double data_offset() const { return second_ ? static_cast<double>(get<std::int64_t>(168)) : get<float>(108); }
  int type() const { return get<std::int16_t>(second_ ? 12 : 70); }
  int qform_code() const { return second_ ? get<std::int32_t>(344) : get<std::int16_t>(252); }
  int sform_code() const { return second_ ? get<std::int32_t>(348) : get<std::int16_t>(254); }
  double quatern(std::size_t i) const { return real(256, 352, i); }
  double qoffset(std::size_t i) const { return real(268, 376, i); }
  double srow(std::size_t i) const { return real(280, 400, i); }
  int units() const { return second_ ? get<std::int32_t>(500) : get<std::uint8_t>(123); }
  std::int32_t glmin() const { return get<std::int32_t>(144); }  // NIfTI-1 alone has it
  std::string description() const {
    const char* text = reinterpret_cast<const char*>(bytes_) + (second_ ? 240 : 148);
    return {text, ::strnlen(text, 80)};
  }

 private:
  double real(std::size_t first, std::size_t second, std::size_t i) const { return second_ ? get<double>(second + 8 * i) : get<float>(first + 4 * i); }

  const std::uint8_t* bytes_;
  bool second_, swapped_;
};

using Affine = std::array<double, 16>;

class NiftiParser {
 public:
  NiftiParser(const std::string& path, const NiftiFields& fields, NiftiHeader& header, std::vector<std::string>& warnings)
      : path_(path), fields_(fields), header_(header), warnings_(warnings) {}

  void parse() {
    type();
    shape();
    pixdims();
    affine();
    units();
    scaling();
    data_offset();
    header_.description = fields_.description();
  }

 private:
  void warn(const std::string& text) { warnings_.push_back(path_ + ": " + text); }

  void type() {
    const int code = fields_.type();
    header_.type = static_cast<NiftiType>(code);
    if (stored_size(header_.type) != 0) return;
    const char* name = code == 1      ? " (binary)"
                       : code == 32   ? " (complex64)"
                       : code == 1536 ? " (float128)"
                       : code == 1792 ? " (complex128)"
                       : code == 2048 ? " (complex256)"
                                      : "";
    throw FormatError(path_, "a NIfTI datatype that can be read (integers, float32, float64, RGB24, RGBA32)", "datatype=" + std::to_string(code) + name);
  }

  void shape() {
    const auto rank = fields_.dim(0);
    if (rank < 1 || rank > 7) throw FormatError(path_, "dim[0] (the number of axes) from 1 to 7", std::to_string(rank));
    for (std::int64_t i = 1; i <= rank; ++i) dims_.push_back(fields_.dim(static_cast<std::size_t>(i)));
    header_.shape = dims_;
    // FreeSurfer keeps long vectors of vertices in NIfTI-1, whose dimensions have 16 bits.
    auto& s = header_.shape;
    const bool surface = header_.version == 1 && s.size() >= 3;
    if (surface && s[0] == -1 && s[1] == 1 && s[2] == 1) {
      s[0] = fields_.glmin();
      if (s[0] < 1) throw FormatError(path_, "FreeSurfer's length of the first axis in glmin, where dim[1]=-1", "glmin=" + std::to_string(s[0]));
    } else if (surface && s[0] == 27307 && s[1] == 1 && s[2] == 6) {
      s[0] = 163842;
      s[2] = 1;
    }
    std::int64_t cells = numbers_per_cell(header_.type);
    for (std::size_t i = 0; i < s.size(); ++i) {
      if (s[i] < 1) throw FormatError(path_, "axes of one cell or more", "dim[" + std::to_string(i + 1) + "]=" + std::to_string(s[i]));
      if (s[i] > kMostCells / cells) throw FormatError(path_, "at most 2^56 cells", "dim[" + std::to_string(i + 1) + "]=" + std::to_string(s[i]));
      cells *= s[i];
    }
  }

  void pixdims() {
    const auto rank = std::max<std::size_t>(dims_.size(), 3);
    for (std::size_t i = 0; i < rank; ++i) {
      double size = fields_.pixdim(i + 1);
      if (i < 3 && size == 0) {
        if (i < dims_.size()) warn("pixdim[" + std::to_string(i + 1) + "]=0, taken as 1");
        size = 1;
      } else if (i < 3 && size < 0) {
        if (i < dims_.size()) warn("pixdim[" + std::to_string(i + 1) + "] is negative, its sign was dropped");
        size = -size;
      }
      pixdim_.push_back(size);
    }
    header_.spacing.assign(pixdim_.begin(), pixdim_.begin() + static_cast<std::ptrdiff_t>(dims_.size()));
  }

  int code_of(int code, const char* name) {
    if (code >= 0 && code <= 5) return code;
    warn(std::string(name) + "=" + std::to_string(code) + " is not from 0 to 5, taken as 0 (unknown)");
    return 0;
  }

  void affine() {
    const int sform = code_of(fields_.sform_code(), "sform_code"), qform = code_of(fields_.qform_code(), "qform_code");
    Affine by_qform{};
    std::string fault;
    if (qform != 0) fault = qform_affine(by_qform);
    header_.affine_code = sform != 0 ? sform : qform;
    if (sform != 0) {
      for (std::size_t i = 0; i < 12; ++i) header_.affine[i] = fields_.srow(i);
      header_.affine[15] = 1;
      if (!fault.empty()) warn("the qform is not a rotation (" + fault + "); the sform is used");
      if (qform != 0 && fault.empty() && differ(header_.affine, by_qform)) warn("sform and qform differ; the sform is used");
    } else if (qform != 0) {
      if (!fault.empty()) throw FormatError(path_, "a qform with a unit quaternion", fault);
      header_.affine = by_qform;
    } else {
      header_.affine = analyze_affine();
      warn(
          "HAS NO ORIENTATION (sform_code and qform_code are 0): left and right are a guess; taken as Analyze files are, first axis from right to left "
          "around the middle of the volume");
    }
    if (std::any_of(header_.affine.begin(), header_.affine.end(), [](double v) { return !std::isfinite(v); }))
      warn("the affine has values that are not finite");
  }

  // Method 2 of the standard, in the precision that nibabel computes it in; what is wrong with it, or nothing.
  std::string qform_affine(Affine& out) {
    const long double x = fields_.quatern(0), y = fields_.quatern(1), z = fields_.quatern(2);
    const long double w2 = 1 - (x * x + y * y + z * z);
    const long double least = 3 * (header_.version == 2 ? std::numeric_limits<double>::epsilon() : std::numeric_limits<float>::epsilon());
    if (!(std::abs(w2) < least) && !(w2 >= 0)) return "1 - b² - c² - d² = " + std::to_string(static_cast<double>(w2));
    const long double w = std::abs(w2) < least ? 0 : std::sqrt(w2);
    const long double s = 2 / (w * w + x * x + y * y + z * z), X = x * s, Y = y * s, Z = z * s;
    const std::array<long double, 9> rotation{1 - (y * Y + z * Z), x * Y - w * Z,       x * Z + w * Y,  //
                                              x * Y + w * Z,       1 - (x * X + z * Z), y * Z - w * X,  //
                                              x * Z - w * Y,       y * Z + w * X,       1 - (x * X + y * Y)};
    const double handed = fields_.pixdim(0);
    if (handed != 1 && handed != -1) warn("pixdim[0] (qfac) is neither 1 nor -1, taken as 1");
    for (std::size_t i = 0; i < 3; ++i) {
      for (std::size_t j = 0; j < 3; ++j)
        out[4 * i + j] = static_cast<double>(rotation[3 * i + j] * static_cast<long double>(j == 2 && handed == -1 ? -pixdim_[j] : pixdim_[j]));
      out[4 * i + 3] = fields_.qoffset(i);
    }
    out[15] = 1;
    return {};
  }

  Affine analyze_affine() const {
    Affine out{};
    for (std::size_t i = 0; i < 3; ++i) {
      const bool has = i < dims_.size();
      const double size = (has ? pixdim_[i] : 1) * (i == 0 ? -1 : 1), middle = has ? (static_cast<double>(dims_[i]) - 1) / 2 : 0;
      out[4 * i + i] = size;
      out[4 * i + 3] = -middle * size;
    }
    out[15] = 1;
    return out;
  }

  // By more than a thousandth of a cell.
  bool differ(const Affine& a, const Affine& b) const {
    const double largest = std::max({pixdim_[0], pixdim_[1], pixdim_[2]});
    for (std::size_t i = 0; i < 12; ++i)
      if (std::abs(a[i] - b[i]) > 1e-3 * (i % 4 < 3 ? pixdim_[i % 4] : largest)) return true;
    return false;
  }

  void units() {
    const int space = fields_.units() & 7, time = fields_.units() & 0x38;
    const double to_mm = space == 1 ? 1e3 : space == 3 ? 1e-3 : 1, to_s = time == 16 ? 1e-3 : time == 24 ? 1e-6 : 1;
    for (std::size_t i = 0; i < header_.spacing.size(); ++i) header_.spacing[i] *= i < 3 ? to_mm : i == 3 ? to_s : 1;
    if (to_mm == 1) return;
    for (std::size_t i = 0; i < 12; ++i) header_.affine[i] *= to_mm;
    warn(std::string("lengths are in ") + (space == 1 ? "m" : "µm") + ", converted to mm");
  }

  void scaling() {
    const double slope = fields_.slope(), inter = fields_.inter();
    if (slope == 0 || !std::isfinite(slope)) return;
    if (!std::isfinite(inter)) throw FormatError(path_, "a finite scl_inter beside scl_slope", std::to_string(inter));
    header_.is_scaled = slope != 1 || inter != 0;
    if (header_.is_scaled && numbers_per_cell(header_.type) > 1) {
      warn("scl_slope and scl_inter do not apply to colors, left out");
      header_.is_scaled = false;
    }
    if (!header_.is_scaled) return;
    header_.slope = slope;
    header_.inter = inter;
  }

  void data_offset() {
    const double offset = fields_.data_offset();
    if (!std::isfinite(offset) || std::abs(offset) > 9e15) throw FormatError(path_, "vox_offset within the file", std::to_string(offset));
    const double least = !header_.is_single ? 0 : header_.version == 2 ? kNifti2Bytes + 4 : kNifti1Bytes + 4;
    if (offset < least)
      warn("vox_offset=" + std::to_string(static_cast<std::int64_t>(offset)) + " is within the header, taken as " + std::to_string(static_cast<int>(least)));
    header_.data_offset = static_cast<std::uint64_t>(std::max(offset, least));
  }

  const std::string& path_;
  const NiftiFields& fields_;
  NiftiHeader& header_;
  std::vector<std::string>& warnings_;
  std::vector<std::int64_t> dims_;  // as they stand in the file
  std::vector<double> pixdim_;      // repaired; three or more
};

}  // namespace

std::size_t stored_size(NiftiType type) {
  switch (type) {
    case NiftiType::kUint8:
    case NiftiType::kInt8:
    case NiftiType::kRgb24:
    case NiftiType::kRgba32:
      return 1;
    case NiftiType::kInt16:
    case NiftiType::kUint16:
      return 2;
    case NiftiType::kInt32:
    case NiftiType::kUint32:
    case NiftiType::kFloat32:
      return 4;
    case NiftiType::kInt64:
    case NiftiType::kUint64:
    case NiftiType::kFloat64:
      return 8;
  }
  return 0;
}

std::int64_t numbers_per_cell(NiftiType type) { return type == NiftiType::kRgb24 ? 3 : type == NiftiType::kRgba32 ? 4 : 1; }

bool nifti_ending(const std::string& path, std::initializer_list<std::string_view> endings) {
  for (const auto ending : endings) {
    if (path.size() < ending.size()) continue;
    if (std::equal(ending.begin(), ending.end(), path.end() - static_cast<std::ptrdiff_t>(ending.size()),
                   [](char a, char b) { return a == (b >= 'A' && b <= 'Z' ? b - 'A' + 'a' : b); }))
      return true;
  }
  return false;
}

std::int64_t NiftiHeader::cells() const {
  std::int64_t n = 1;
  for (const auto side : shape) n *= side;
  return n;
}

std::uint64_t NiftiHeader::data_bytes() const { return static_cast<std::uint64_t>(cells() * numbers_per_cell(type)) * stored_size(type); }

NiftiHeader parse_nifti_header(const std::string& path, const std::uint8_t* bytes, std::size_t size, std::vector<std::string>& warnings) {
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  if (text.starts_with("version https://git-lfs")) throw FormatError(path, "a NIfTI file", "a pointer of Git LFS: the file was not downloaded (git lfs pull)");
  if (size < kNifti1Bytes) throw FormatError(path, "a NIfTI header of 348 bytes or more", std::to_string(size) + " bytes");
  const auto is_magic = [&](std::size_t at, const char* a, const char* b) {
    return text.substr(at, 4) == std::string_view(a, 4) || text.substr(at, 4) == std::string_view(b, 4);
  };
  NiftiHeader header;
  const bool first = is_magic(344, "n+1\0", "ni1\0"), second = is_magic(4, "n+2\0", "ni2\0");
  const auto size_field = NiftiFields(bytes, 1, false).get<std::uint32_t>(0);
  const auto says = [&](std::uint32_t n) { return size_field == n || size_field == __builtin_bswap32(n); };
  if (!first && !second)
    throw FormatError(path, "the magic of NIfTI (n+1, ni1, n+2 or ni2)",
                      says(kNifti1Bytes) ? "a header without it, as Analyze 7.5 has: its orientation is unknown, convert the file to NIfTI"
                                         : "none, at the start " + quote(text.substr(0, 16)));
  header.version = first ? 1 : 2;
  if (header.version == 2 && size < kNifti2Bytes) throw FormatError(path, "a NIfTI-2 header of 540 bytes", std::to_string(size) + " bytes");
  if (!says(header.version == 1 ? kNifti1Bytes : kNifti2Bytes))
    warnings.push_back(path + ": sizeof_hdr is not " + std::to_string(header.version == 1 ? kNifti1Bytes : kNifti2Bytes) + ", taken as such");
  constexpr std::string_view kEol("\r\n\x1a\n", 4), kNoEol("\0\0\0\0", 4);
  if (header.version == 2 && text.substr(8, 4) != kEol && text.substr(8, 4) != kNoEol)
    throw FormatError(path, "bytes 0D 0A 1A 0A after the magic", quote(text.substr(8, 4)) + ": ends of lines were converted, the file is damaged");
  const auto rank = NiftiFields(bytes, header.version, false).dim(0);
  header.is_swapped = rank == 0 ? size_field == __builtin_bswap32(header.version == 1 ? kNifti1Bytes : kNifti2Bytes) : rank < 0 || rank > 7;
  // The name decides, as in nibabel; the magic where the name does not say.
  const bool pair = nifti_ending(path, {".hdr", ".hdr.gz", ".img", ".img.gz"});
  header.is_single = !pair && (nifti_ending(path, {".nii", ".nii.gz"}) || text[first ? 345 : 5] == '+');
  NiftiParser(path, NiftiFields(bytes, header.version, header.is_swapped), header, warnings).parse();
  return header;
}

}  // namespace sslmed::io
