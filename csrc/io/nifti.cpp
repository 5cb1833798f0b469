#include "io/nifti.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <type_traits>
#include <utility>

#include "core/error.h"
#include "io/nifti_values.h"

namespace sslmed::io {
namespace {

constexpr std::size_t kStart = 64 << 10;   // enough of a compressed file for its header
constexpr std::size_t kPiece = 256 << 10;  // plain files are read in pieces that stay in the cache
// What may follow the values of a compressed file, beside as much again as they are. More is refused, not decompressed:
// it may be of any size. Also the most that a .hdr may have.
constexpr std::size_t kMostTail = 1 << 20;

RawBytes whole_file(const File& file) {
  RawBytes out(file.size());
  file.read(out.data.get(), out.size, 0);
  return out;
}

std::string with_ending(const std::string& path, std::size_t length, std::string_view ending) {
  std::string out = path.substr(0, path.size() - length);
  const bool upper = path[path.size() - length + 1] < 'a';
  for (const char c : ending) out += upper && c >= 'a' ? static_cast<char>(c - 'a' + 'A') : c;
  return out;
}

struct NiftiPaths {
  std::string header, values;
};

// Both files of a pair, from the name of either; the name twice for a single file.
NiftiPaths nifti_paths(const std::string& path) {
  for (const bool packed : {false, true}) {
    for (const char* mine : {".hdr", ".img"}) {
      const std::string ending = std::string(mine) + (packed ? ".gz" : "");
      if (!nifti_ending(path, {ending})) continue;
      const char* other = mine[1] == 'h' ? ".img" : ".hdr";
      const std::string same = with_ending(path, ending.size(), std::string(other) + (packed ? ".gz" : ""));
      const std::string unlike = with_ending(path, ending.size(), std::string(other) + (packed ? "" : ".gz"));
      const std::string& found = !std::filesystem::exists(same) && std::filesystem::exists(unlike) ? unlike : same;
      return mine[1] == 'h' ? NiftiPaths{path, found} : NiftiPaths{found, path};
    }
  }
  return {path, path};
}

std::string cell_name(const NiftiHeader& header, std::size_t number) {
  auto cell = static_cast<std::int64_t>(number) / numbers_per_cell(header.type);
  std::string out = "(";
  for (std::size_t i = 0; i < header.shape.size(); ++i) {
    out += (i > 0 ? ", " : "") + std::to_string(cell % header.shape[i]);
    cell /= header.shape[i];
  }
  return out + ")";
}

template <class T>
const char* type_name() {
  if constexpr (std::is_same_v<T, std::uint8_t>) return "uint8";
  if constexpr (std::is_same_v<T, std::int8_t>) return "int8";
  if constexpr (std::is_same_v<T, std::int16_t>) return "int16";
  if constexpr (std::is_same_v<T, std::int32_t>) return "int32";
  return "int64";
}

// A header's first bytes, decompressed where they are compressed.
struct HeaderBytes {
  std::array<std::uint8_t, kNifti2Bytes> bytes{};
  std::size_t size = 0;
  bool is_packed = false;
};

HeaderBytes header_bytes(const File& file) {
  HeaderBytes out;
  const auto start = static_cast<std::size_t>(std::min<std::uint64_t>(file.size(), kStart));
  RawBytes first(start);
  file.read(first.data.get(), start, 0);
  out.is_packed = is_gzip(first.data.get(), start);
  if (!out.is_packed) {
    out.size = std::min(start, out.bytes.size());
    std::memcpy(out.bytes.data(), first.data.get(), out.size);
    return out;
  }
  out.size = gunzip_start(file.path(), first.data.get(), start, out.bytes.data(), out.bytes.size());
  if (out.size < out.bytes.size() && file.size() > start) {
    const auto all = whole_file(file);
    out.size = gunzip_start(file.path(), all.data.get(), all.size, out.bytes.data(), out.bytes.size());
  }
  return out;
}

}  // namespace

NiftiHeader read_nifti_header(const std::string& path, std::vector<std::string>& warnings) {
  const File file(nifti_paths(path).header);
  const auto start = header_bytes(file);
  return parse_nifti_header(file.path(), start.bytes.data(), start.size, warnings);
}

NiftiReader::NiftiReader(const std::string& path, std::vector<std::string>& warnings) : warnings_(warnings) {
  const auto paths = nifti_paths(path);
  path_ = paths.header;
  File file(paths.header);
  const auto start = header_bytes(file);
  header_ = parse_nifti_header(path_, start.bytes.data(), start.size, warnings);
  if (header_.is_single) {
    values_ = std::move(file);
    is_packed_ = start.is_packed;
  } else {
    values_.emplace(paths.values);
    read_pair_extensions(file, start.is_packed);
    // Values may begin with any bytes, so that only the name can say that they are compressed.
    std::array<std::uint8_t, 3> magic{};
    values_->read(magic.data(), std::min<std::uint64_t>(magic.size(), values_->size()), 0);
    is_packed_ = nifti_ending(paths.values, {".gz"}) && is_gzip(magic.data(), magic.size());
  }
  if (nifti_ending(values_->path(), {".gz"}) != is_packed_)
    warnings.push_back(values_->path() +
                       (is_packed_ ? ": is compressed (gzip), although its name does not end in .gz" : ": is not compressed, although its name ends in .gz"));
  check_size();
}

void NiftiReader::check_size() const {
  const std::uint64_t needed = header_.data_offset + header_.data_bytes(), there = values_->size();
  if (!is_packed_ && needed > there)
    throw FormatError(values_->path(), std::to_string(header_.data_bytes()) + " bytes of values from byte " + std::to_string(header_.data_offset),
                      "a file of " + std::to_string(there) + " bytes (was it cut?)");
  if (is_packed_ && needed > most_gunzipped(there))
    throw FormatError(values_->path(), std::to_string(needed) + " bytes, as the header has it",
                      "a compressed file of " + std::to_string(there) + " bytes, which cannot hold as many (was it cut?)");
}

void NiftiReader::read_pair_extensions(const File& file, bool packed) {
  const std::size_t begin = header_.version == 2 ? kNifti2Bytes : kNifti1Bytes;
  if (file.size() > kMostTail) {
    warnings_.push_back(path_ + ": extensions of " + std::to_string(file.size()) + " bytes, left out");
    return;
  }
  auto bytes = whole_file(file);
  if (packed) {
    RawBytes out(std::min<std::uint64_t>(most_gunzipped(bytes.size), kMostTail));
    const auto found = gunzip(path_, bytes.data.get(), bytes.size, out.data.get(), out.size);
    out.size = found.size;
    bytes = std::move(out);
  }
  if (bytes.size > begin) read_extensions(bytes.data.get() + begin, bytes.size - begin);
}

void NiftiReader::read_extensions(const std::uint8_t* bytes, std::size_t size) {
  if (size < 4 || bytes[0] == 0) return;
  const auto integer = [&](std::size_t at) {
    std::uint32_t value;
    std::memcpy(&value, bytes + at, 4);
    return static_cast<std::int32_t>(header_.is_swapped ? __builtin_bswap32(value) : value);
  };
  for (std::size_t at = 4; size - at >= 16;) {
    const auto length = static_cast<std::int64_t>(integer(at));
    if (length < 8 || length > static_cast<std::int64_t>(size - at)) {
      warnings_.push_back(path_ + ": an extension of " + std::to_string(length) + " bytes does not fit before the values; it and those after it are left out");
      return;
    }
    std::string content(reinterpret_cast<const char*>(bytes) + at + 8, static_cast<std::size_t>(length) - 8);
    content.resize(content.find_last_not_of('\0') + 1);
    extensions_.push_back({integer(at + 4), std::move(content)});
    at += static_cast<std::size_t>(length);
  }
}

void NiftiReader::note_extensions(const std::uint8_t* file_start) {
  const std::size_t begin = header_.version == 2 ? kNifti2Bytes : kNifti1Bytes;
  if (header_.is_single && header_.data_offset > begin) read_extensions(file_start + begin, static_cast<std::size_t>(header_.data_offset) - begin);
}

void NiftiReader::decompress(std::uint8_t* into) {
  const auto packed = whole_file(*values_);
  const std::size_t needed = static_cast<std::size_t>(header_.data_offset + header_.data_bytes());
  auto found = gunzip(values_->path(), packed.data.get(), packed.size, into, needed);
  if (found.has_more) {
    RawBytes longer(2 * needed + kMostTail);
    found = gunzip(values_->path(), packed.data.get(), packed.size, longer.data.get(), longer.size);
    if (found.has_more)
      throw FormatError(values_->path(), std::to_string(needed) + " bytes, as the header has it", "more than " + std::to_string(longer.size) + " bytes");
    std::memcpy(into, longer.data.get(), std::min(needed, found.size));
  }
  if (found.size < needed)
    throw FormatError(values_->path(), std::to_string(needed) + " bytes, as the header has it", std::to_string(found.size) + " bytes after decompression");
  note_tail(found.size);
  note_extensions(into);
}

void NiftiReader::note_tail(std::uint64_t size) {
  const auto needed = header_.data_offset + header_.data_bytes();
  if (size > needed) warnings_.push_back(values_->path() + ": " + std::to_string(size - needed) + " bytes after the last value are left out");
}

const std::uint8_t* NiftiReader::stage() {
  if (staged_.size == 0) {
    const auto needed = static_cast<std::size_t>(header_.data_offset + header_.data_bytes());
    staged_ = RawBytes(needed);
    if (is_packed_) {
      decompress(staged_.data.get());
    } else {
      values_->read(staged_.data.get(), needed, 0);
      note_tail(values_->size());
      note_extensions(staged_.data.get());
    }
  }
  return staged_.data.get() + header_.data_offset;
}

bool NiftiReader::exact_in_float() { return always_exact_in_float(header_) || io::exact_in_float(header_, stage(), numbers()); }

bool NiftiReader::exact_in_double() {
  const bool wide = header_.type == NiftiType::kInt64 || header_.type == NiftiType::kUint64;
  return !wide || io::exact_in_double(header_, stage(), numbers());
}

std::size_t NiftiReader::room(std::size_t element_size) const {
  const bool in_place = is_packed_ && staged_.size == 0 && element_size >= stored_size(header_.type);
  const auto needed = static_cast<std::size_t>(header_.data_offset + header_.data_bytes());
  return in_place ? std::max(numbers(), (needed + element_size - 1) / element_size) : numbers();
}

template <class T>
void NiftiReader::convert(const std::uint8_t* stored, std::size_t first, std::size_t n, T* into) const {
  if (NiftiConverter<T>(header_).convert(stored, n, into)) return;
  if constexpr (std::is_integral_v<T>) {
    // Once more, to name the first value that is none of T. `stored` is not overwritten here: integers are not made in
    // place.
    for (std::size_t i = 0; i < n; ++i) {
      T one;
      const auto* at = stored + i * stored_size(header_.type);
      if (NiftiConverter<T>(header_).convert(at, 1, &one)) continue;
      double value = 0;
      NiftiConverter<double>(header_).convert(at, 1, &value);
      std::array<char, 32> text;
      std::snprintf(text.data(), text.size(), "%.17g", value);
      throw FormatError(values_->path(), std::string("whole numbers within ") + type_name<T>(),
                        std::string(text.data()) + " in cell " + cell_name(header_, first + i));
    }
  }
}

template <class T>
std::size_t NiftiReader::read(T* into, std::size_t room) {
  const std::size_t n = numbers(), element = stored_size(header_.type), bytes = room * sizeof(T);
  ask_for_huge_pages(into, bytes);
  if (is_packed_ && staged_.size == 0 && std::is_floating_point_v<T> && sizeof(T) >= element) {
    const auto needed = static_cast<std::size_t>(header_.data_offset + header_.data_bytes());
    if (bytes >= needed) {
      auto* end = reinterpret_cast<std::uint8_t*>(into) + bytes;
      decompress(end - needed);
      if (stored_as<T>(header_)) return room - n;
      // From the end of the memory to its beginning. Values never come in each other's way, because none becomes
      // smaller.
      convert(end - n * element, 0, n, into);
      return 0;
    }
  }
  if (is_packed_ || staged_.size != 0) {
    convert(stage(), 0, n, into);
    return 0;
  }
  note_tail(values_->size());
  if (header_.is_single) {
    RawBytes start(static_cast<std::size_t>(header_.data_offset));
    values_->read(start.data.get(), start.size, 0);
    note_extensions(start.data.get());
  }
  RawBytes piece(std::min(n * element, kPiece));
  for (std::size_t i = 0; i < n; i += kPiece / element) {
    const std::size_t count = std::min(kPiece / element, n - i);
    values_->read(piece.data.get(), count * element, header_.data_offset + i * element);
    convert(piece.data.get(), i, count, into + i);
  }
  return 0;
}

template std::size_t NiftiReader::read(float*, std::size_t);
template std::size_t NiftiReader::read(double*, std::size_t);
template std::size_t NiftiReader::read(std::uint8_t*, std::size_t);
template std::size_t NiftiReader::read(std::int8_t*, std::size_t);
template std::size_t NiftiReader::read(std::int16_t*, std::size_t);
template std::size_t NiftiReader::read(std::int32_t*, std::size_t);
template std::size_t NiftiReader::read(std::int64_t*, std::size_t);

Volume3 read_volume3(const std::string& path, std::vector<std::string>& warnings) {
  NiftiReader reader(path, warnings);
  const auto& header = reader.header();
  if (numbers_per_cell(header.type) != 1) throw FormatError(path, "one number a cell", "colors (RGB)");
  Volume3 out;
  out.shape = {1, 1, 1};
  for (std::size_t i = 0; i < header.shape.size(); ++i) {
    if (i < 3) out.shape[i] = header.shape[i];
    if (i >= 3 && header.shape[i] != 1)
      throw FormatError(path, "one 3-D volume", std::to_string(header.shape[i]) + " cells along axis " + std::to_string(i + 1));
  }
  out.affine = header.affine;
  for (const double value : out.affine)
    if (!std::isfinite(value)) throw FormatError(path, "an affine of finite numbers", std::to_string(value));
  out.values.resize(reader.room(sizeof(float)));
  const auto first = reader.read(out.values.data(), out.values.size());
  out.values.erase(out.values.begin(), out.values.begin() + static_cast<std::ptrdiff_t>(first));
  out.values.resize(reader.numbers());
  return out;
}

}  // namespace sslmed::io
