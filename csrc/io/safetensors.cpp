#include "io/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <numeric>
#include <set>
#include <utility>

#include "core/error.h"
#include "io/json.h"

namespace sslmed::io {
namespace {

constexpr std::uint64_t kMaxHeader = 100'000'000;  // the reference implementation's limit
constexpr std::array<std::pair<const char*, std::size_t>, 15> kCodes{{{"F64", 8},
                                                                      {"F32", 4},
                                                                      {"F16", 2},
                                                                      {"BF16", 2},
                                                                      {"I64", 8},
                                                                      {"I32", 4},
                                                                      {"I16", 2},
                                                                      {"I8", 1},
                                                                      {"U8", 1},
                                                                      {"U16", 2},
                                                                      {"U32", 4},
                                                                      {"U64", 8},
                                                                      {"BOOL", 1},
                                                                      {"F8_E4M3", 1},
                                                                      {"F8_E5M2", 1}}};

std::uint64_t little_endian(const unsigned char* bytes) {
  std::uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = value << 8 | bytes[i];
  return value;
}

constexpr std::size_t kMaxAxes = 64;  // NumPy's limit

// The bytes that a shape needs; throws JsonError on overflow, also of strides, which a dimension of 0 does not make smaller.
std::uint64_t extent(const std::vector<std::int64_t>& shape, std::uint64_t element) {
  if (shape.size() > kMaxAxes) throw JsonError("a shape of " + std::to_string(shape.size()) + " axes, more than " + std::to_string(kMaxAxes));
  std::uint64_t bytes = element;
  bool empty = false;
  for (const auto dim : shape) {
    const auto size = static_cast<std::uint64_t>(std::max<std::int64_t>(dim, 1));
    if (bytes > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) / size) throw JsonError("a shape whose size overflows 63 bits");
    bytes *= size;
    empty = empty || dim == 0;
  }
  return empty ? 0 : bytes;
}

TensorEntry parse_entry(const std::string& name, const Json& value, std::uint64_t data_begin, std::uint64_t data_size) {
  TensorEntry entry;
  entry.name = name;
  const Json *dtype = value.find("dtype"), *shape = value.find("shape"), *offsets = value.find("data_offsets");
  if (value.kind != Json::Kind::kObject || dtype == nullptr || shape == nullptr || offsets == nullptr || value.members.size() != 3)
    throw JsonError("tensor " + quote(name) + " without exactly dtype, shape and data_offsets");
  entry.code = dtype->text;
  const std::size_t element = dtype->kind == Json::Kind::kString ? element_size(entry.code) : 0;
  if (element == 0) throw JsonError("tensor " + quote(name) + " of unknown dtype " + quote(entry.code));
  if (shape->kind != Json::Kind::kArray || offsets->kind != Json::Kind::kArray || offsets->items.size() != 2)
    throw JsonError("tensor " + quote(name) + " with a malformed shape or data_offsets");
  for (const auto& dim : shape->items) {
    const auto size = dim.as_unsigned();
    if (size > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) throw JsonError("a dimension beyond 63 bits");
    entry.shape.push_back(static_cast<std::int64_t>(size));
  }
  const auto begin = offsets->items[0].as_unsigned(), end = offsets->items[1].as_unsigned();
  if (begin > end || end > data_size)
    throw JsonError("tensor " + quote(name) + " at bytes " + std::to_string(begin) + ".." + std::to_string(end) + " of " + std::to_string(data_size));
  if (end - begin != extent(entry.shape, element))
    throw JsonError("tensor " + quote(name) + " with " + std::to_string(end - begin) + " bytes where its shape needs " +
                    std::to_string(extent(entry.shape, element)));
  entry.begin = data_begin + begin;
  entry.size = end - begin;
  return entry;
}

}  // namespace

std::size_t element_size(const std::string& code) {
  for (const auto& [name, size] : kCodes)
    if (code == name) return size;
  return 0;
}

SafetensorsFile::SafetensorsFile(const std::string& path) : file_(path) {
  if (file_.size() < 8) throw FormatError(path, "a safetensors header of 8 bytes or more", std::to_string(file_.size()) + " bytes");
  unsigned char length[8];
  file_.read(length, 8, 0);
  const std::uint64_t header_size = little_endian(length);
  if (header_size > kMaxHeader || header_size > file_.size() - 8)
    throw FormatError(path, "a safetensors header within the file and at most " + std::to_string(kMaxHeader) + " bytes",
                      std::to_string(header_size) + " bytes in a file of " + std::to_string(file_.size()));
  std::string header(header_size, '\0');
  file_.read(header.data(), header_size, 8);
  try {
    parse(header, 8 + header_size);
  } catch (const JsonError& error) {
    throw FormatError(path, "a valid safetensors header", error.what());
  }
  check_cover(8 + header_size);
}

void SafetensorsFile::parse(const std::string& header, std::uint64_t data_begin) {
  if (header.empty() || header[0] != '{') throw JsonError("a header that does not start with '{'");
  const Json root = parse_json(header);
  const std::uint64_t data_size = file_.size() - data_begin;
  for (const auto& [name, value] : root.members) {
    if (name != "__metadata__") {
      entries_.push_back(parse_entry(name, value, data_begin, data_size));
      continue;
    }
    if (value.kind != Json::Kind::kObject) throw JsonError("__metadata__ that is not an object");
    for (const auto& [key, item] : value.members) {
      if (item.kind != Json::Kind::kString) throw JsonError("__metadata__ with a value that is not a string");
      metadata_.emplace(key, item.text);
    }
  }
}

void SafetensorsFile::check_cover(std::uint64_t data_begin) const {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> extents;
  for (const auto& entry : entries_) extents.emplace_back(entry.begin, entry.begin + entry.size);
  std::sort(extents.begin(), extents.end());
  std::uint64_t at = data_begin;
  for (const auto& [begin, end] : extents) {
    if (begin != at)
      throw FormatError(file_.path(), "tensors that follow each other without hole or overlap",
                        (begin > at ? "a hole at byte " : "an overlap at byte ") + std::to_string(std::min(begin, at)));
    at = end;
  }
  if (at != file_.size())
    throw FormatError(file_.path(), "the data to end with the file at byte " + std::to_string(file_.size()), "its end at " + std::to_string(at));
}

void write_safetensors(const std::string& path, const std::vector<TensorBytes>& tensors, const std::map<std::string, std::string>& metadata) {
  // Largest alignment first, as the reference writer does, so that every tensor is aligned to its element.
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const auto size_a = element_size(tensors[a].code), size_b = element_size(tensors[b].code);
    return size_a != size_b ? size_a > size_b : tensors[a].name < tensors[b].name;
  });
  std::string header = "{";
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) header += json_quote(key) + ":" + json_quote(value) + ",";
    header.back() = '}';
    header += ',';
  }
  std::set<std::string> names;
  std::vector<std::uint64_t> sizes;
  std::uint64_t at = 0;
  for (const auto i : order) {
    const auto& tensor = tensors[i];
    if (tensor.name == "__metadata__" || !names.insert(tensor.name).second)
      throw ValueError("safetensors: tensor name " + quote(tensor.name) + " is reserved or used twice");
    if (element_size(tensor.code) == 0) throw ValueError("safetensors: tensor " + quote(tensor.name) + " has unknown dtype " + quote(tensor.code));
    sizes.push_back(extent(tensor.shape, element_size(tensor.code)));
    header += json_quote(tensor.name) + ":{\"dtype\":\"" + tensor.code + "\",\"shape\":[";
    for (std::size_t d = 0; d < tensor.shape.size(); ++d) header += (d != 0 ? "," : "") + std::to_string(tensor.shape[d]);
    header += "],\"data_offsets\":[" + std::to_string(at) + "," + std::to_string(at + sizes.back()) + "]},";
    at += sizes.back();
  }
  if (header.back() == ',') header.pop_back();
  header += '}';
  header.append((8 - header.size() % 8) % 8, ' ');

  AtomicFile file(path);
  unsigned char length[8];
  for (int i = 0; i < 8; ++i) length[i] = static_cast<unsigned char>(header.size() >> (8 * i));
  file.write(length, 8);
  file.write(header.data(), header.size());
  for (std::size_t i = 0; i < order.size(); ++i) file.write(tensors[order[i]].data, sizes[i]);
  file.commit();
}

}  // namespace sslmed::io
