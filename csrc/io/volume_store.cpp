#include "io/volume_store.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "core/checksum.h"
#include "core/error.h"
#include "io/json.h"

namespace sslmed::io {
namespace {

// A fuzzer would never get past a checksum.
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
bool is_sound(const unsigned char*, std::uint64_t, std::uint64_t) { return true; }
#else
bool is_sound(const unsigned char* bytes, std::uint64_t size, std::uint64_t sum) { return checksum(bytes, size) == sum; }
#endif

constexpr char kStoreMagic[] = "SSLMEDV1";
constexpr std::size_t kStoreStart = 16;             // bytes before the header
constexpr std::uint64_t kMaxStoreHeader = 1 << 24;  // bytes
constexpr std::int64_t kMaxStoreSide = 1 << 14;     // cells
constexpr std::size_t kMaxStoreChannels = 256;

std::int64_t chunks_along(std::int64_t cells) { return (cells + kStoreChunk - 1) / kStoreChunk; }

Extent3 chunk_shape(const Extent3& shape, const Extent3& at) {
  Extent3 out;
  for (std::size_t a = 0; a < 3; ++a) out[a] = std::min(kStoreChunk, shape[a] - at[a] * kStoreChunk);
  return out;
}

std::string number_text(double value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  return {text, end};
}

template <class Numbers>
std::string list_text(const Numbers& numbers) {
  std::string out = "[";
  for (const auto value : numbers) out += (out.size() > 1 ? "," : "") + number_text(static_cast<double>(value));
  return out + "]";
}

void put_word(std::vector<std::uint8_t>& bytes, std::uint64_t value) {
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
}

std::uint64_t get_word(const unsigned char* bytes) {
  std::uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = value << 8 | bytes[i];
  return value;
}

void set_word(std::uint8_t* bytes, std::uint64_t value) {
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<std::uint8_t>(value >> (8 * i));
}

// A chunk's codes end to end.
template <class T>
std::vector<T> cut_chunk(const std::vector<T>& codes, const Extent3& shape, const Extent3& at) {
  const auto part = chunk_shape(shape, at);
  std::vector<T> out;
  out.reserve(static_cast<std::size_t>(part[0] * part[1] * part[2]));
  for (std::int64_t x = 0; x < part[0]; ++x)
    for (std::int64_t y = 0; y < part[1]; ++y) {
      const auto row = ((at[0] * kStoreChunk + x) * shape[1] + at[1] * kStoreChunk + y) * shape[2] + at[2] * kStoreChunk;
      out.insert(out.end(), codes.begin() + row, codes.begin() + row + part[2]);
    }
  return out;
}

std::vector<double> doubles_of(const Json& object, const char* name, std::size_t count) {
  const auto* list = object.find(name);
  if (list == nullptr || list->kind != Json::Kind::kArray || list->items.size() != count)
    throw JsonError(std::string("a header whose ") + name + " is no list of " + std::to_string(count) + " numbers");
  std::vector<double> out;
  for (const auto& item : list->items) out.push_back(item.as_double());
  return out;
}

double double_of(const Json& object, const char* name) {
  const auto* value = object.find(name);
  if (value == nullptr) throw JsonError(std::string("a channel without ") + name);
  return value->as_double();
}

}  // namespace

std::vector<std::uint8_t> encode_store(const StoreVolume& volume) {
  std::string header = "{\"shape\":" + list_text(volume.shape) + ",\"chunk\":" + std::to_string(kStoreChunk) + ",\"spacing\":" + list_text(volume.spacing) +
                       ",\"affine\":" + list_text(volume.affine) + ",\"channels\":[";
  std::int64_t cells = 1;
  for (const auto side : volume.shape) {
    if (side < 1 || side > kMaxStoreSide) throw ValueError("a prepared volume has 1 to 16,384 cells along an axis, got " + std::to_string(side));
    cells *= side;
  }
  if (volume.channels.empty() || volume.channels.size() > kMaxStoreChannels)
    throw ValueError("a prepared volume has 1 to 256 channels, got " + std::to_string(volume.channels.size()));
  for (const auto& channel : volume.channels) {
    const auto count = std::visit([](const auto& codes) { return codes.size(); }, channel.codes);
    if (count != static_cast<std::size_t>(cells)) throw ValueError("channel " + quote(channel.name) + " does not fill the volume");
    header += std::string(header.back() == '[' ? "" : ",") + "{\"name\":" + json_quote(channel.name) +
              ",\"bytes\":" + (channel.codes.index() == 0 ? "1" : "2") + ",\"scale\":" + number_text(channel.scale) +
              ",\"offset\":" + number_text(channel.offset) + ",\"outside\":" + number_text(channel.outside) + "}";
  }
  header += "],\"settings\":" + json_quote(volume.settings) + ",\"facts\":" + json_quote(volume.facts) + "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const Extent3 grid{chunks_along(volume.shape[0]), chunks_along(volume.shape[1]), chunks_along(volume.shape[2])};
  const auto chunks = static_cast<std::size_t>(grid[0] * grid[1] * grid[2]);
  std::vector<std::uint8_t> out(kStoreMagic, kStoreMagic + 8);
  put_word(out, header.size());
  out.insert(out.end(), header.begin(), header.end());
  const auto table = out.size();
  const auto data = table + 16 * chunks * volume.channels.size() + 8;
  out.resize(data, 0);
  auto entry = table;
  for (const auto& channel : volume.channels) {
    std::visit(
        [&](const auto& codes) {
          Extent3 at;
          for (at[0] = 0; at[0] < grid[0]; ++at[0])
            for (at[1] = 0; at[1] < grid[1]; ++at[1])
              for (at[2] = 0; at[2] < grid[2]; ++at[2], entry += 16) {
                const auto chunk = cut_chunk(codes, volume.shape, at);
                const auto first = chunk.front();
                if (std::all_of(chunk.begin(), chunk.end(), [first](auto code) { return code == first; })) {
                  set_word(out.data() + entry + 8, static_cast<std::uint64_t>(static_cast<std::int64_t>(first)));
                  continue;
                }
                const auto size = chunk.size() * sizeof first, place = out.size(), padded = (size + 7) / 8 * 8;
                out.resize(place + padded, 0);
                std::memcpy(out.data() + place, chunk.data(), size);
                set_word(out.data() + entry, place);
                set_word(out.data() + entry + 8, checksum(out.data() + place, padded));
              }
        },
        channel.codes);
  }
  set_word(out.data() + data - 8, checksum(out.data(), data - 8));
  return out;
}

std::shared_ptr<const VolumeStore> VolumeStore::open(const std::string& path) {
  std::shared_ptr<VolumeStore> store(new VolumeStore(path));
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) throw ReadError(path, "cannot be opened", errno);
  struct stat status {};
  const bool known = ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
  const auto size = known ? static_cast<std::size_t>(status.st_size) : 0;
  void* mapped = known && size > 0 ? ::mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor, 0) : MAP_FAILED;
  const int error = errno;
  ::close(descriptor);
  if (!known) throw ReadError(path, "is not a regular file");
  if (size == 0) throw FormatError(path, "a prepared volume", "an empty file");
  if (mapped == MAP_FAILED) throw ReadError(path, "cannot be mapped", error);
  store->bytes_ = static_cast<const unsigned char*>(mapped);
  store->size_ = size;
  store->mapped_ = true;
  store->parse();
  return store;
}

std::shared_ptr<const VolumeStore> VolumeStore::from_bytes(std::string name, std::vector<std::uint8_t> bytes) {
  std::shared_ptr<VolumeStore> store(new VolumeStore(std::move(name)));
  store->owned_ = std::move(bytes);
  store->bytes_ = store->owned_.data();
  store->size_ = store->owned_.size();
  store->parse();
  return store;
}

VolumeStore::~VolumeStore() {
  if (mapped_) ::munmap(const_cast<unsigned char*>(bytes_), size_);
}

void VolumeStore::parse() {
  if (size_ < kStoreStart || std::memcmp(bytes_, kStoreMagic, 8) != 0)
    throw FormatError(name_, "a prepared volume (sslmed.prepare)", "another file, or one of another version");
  const auto length = get_word(bytes_ + 8);
  if (length > kMaxStoreHeader || length > size_ - kStoreStart)
    throw FormatError(name_, "a header within the file", std::to_string(length) + " bytes in a file of " + std::to_string(size_));
  try {
    parse_header(std::string(reinterpret_cast<const char*>(bytes_) + kStoreStart, length));
  } catch (const JsonError& error) {
    throw FormatError(name_, "the header of a prepared volume", error.what());
  }
  table_ = kStoreStart + length;
  const auto chunks = static_cast<std::size_t>(grid_[0] * grid_[1] * grid_[2]) * channels_.size();
  if (chunks > (size_ - table_) / 16 || size_ - table_ - 16 * chunks < 8)
    throw FormatError(name_, "a table of " + std::to_string(chunks) + " chunks", "a file of " + std::to_string(size_) + " bytes");
  const auto end = table_ + 16 * chunks;
  if (!is_sound(bytes_, end, get_word(bytes_ + end))) throw FormatError(name_, "an undamaged header", "one whose checksum does not fit");
  checked_ = std::make_unique<std::atomic<std::uint8_t>[]>(chunks);
}

void VolumeStore::parse_header(const std::string& header) {
  const auto root = parse_json(header);
  if (root.kind != Json::Kind::kObject) throw JsonError("a header that is no object");
  const auto shape = doubles_of(root, "shape", 3), spacing = doubles_of(root, "spacing", 3), affine = doubles_of(root, "affine", 16);
  const auto *chunk = root.find("chunk"), *channels = root.find("channels"), *facts = root.find("facts");
  if (chunk == nullptr || chunk->as_unsigned() != kStoreChunk) throw JsonError("chunks of another size");
  for (std::size_t a = 0; a < 3; ++a) {
    if (!(shape[a] >= 1 && shape[a] <= static_cast<double>(kMaxStoreSide))) throw JsonError("a shape out of range");
    shape_[a] = static_cast<std::int64_t>(shape[a]);
    grid_[a] = chunks_along(shape_[a]);
    if (!(spacing[a] > 0 && std::isfinite(spacing[a]))) throw JsonError("a spacing that is not positive");
    spacing_[a] = spacing[a];
  }
  std::copy(affine.begin(), affine.end(), affine_.begin());
  const auto* settings = root.find("settings");
  if (facts == nullptr || facts->kind != Json::Kind::kString || settings == nullptr || settings->kind != Json::Kind::kString)
    throw JsonError("a header without settings and facts");
  settings_ = settings->text;
  facts_ = facts->text;
  if (channels == nullptr || channels->kind != Json::Kind::kArray || channels->items.empty() || channels->items.size() > kMaxStoreChannels)
    throw JsonError("a header without a list of channels");
  for (const auto& item : channels->items) {
    const auto *name = item.find("name"), *bytes = item.find("bytes");
    if (name == nullptr || name->kind != Json::Kind::kString || bytes == nullptr) throw JsonError("a channel without a name or bytes");
    const auto width = bytes->as_unsigned();
    if (width != 1 && width != 2) throw JsonError("a channel of codes of " + std::to_string(width) + " bytes");
    channels_.push_back({name->text, static_cast<std::int64_t>(width), double_of(item, "scale"), double_of(item, "offset"), double_of(item, "outside"),
                         channels_.size() * static_cast<std::size_t>(grid_[0] * grid_[1] * grid_[2])});
  }
}

const VolumeStore::Channel* VolumeStore::find(const std::string& name) const {
  const auto found = std::find_if(channels_.begin(), channels_.end(), [&](const Channel& channel) { return channel.name == name; });
  return found == channels_.end() ? nullptr : &*found;
}

// The codes of a chunk of so many cells; null where all are `constant`.
const unsigned char* VolumeStore::chunk(const Channel& channel, std::size_t number, std::int64_t cells, std::int64_t& constant) const {
  const auto* entry = bytes_ + table_ + 16 * (channel.first_chunk + number);
  const auto place = get_word(entry), sum = get_word(entry + 8);
  if (place == 0) {
    constant = static_cast<std::int64_t>(sum);
    return nullptr;
  }
  auto& checked = checked_[channel.first_chunk + number];
  if (checked.load(std::memory_order_acquire) == 0) {
    const auto size = static_cast<std::uint64_t>((cells * channel.bytes + 7) / 8 * 8);
    const auto what = "chunk " + std::to_string(number) + " of channel " + quote(channel.name);
    if (place > size_ || size > size_ - place || place % 8 != 0) throw FormatError(name_, what + " within the file", "a place beyond its end");
    if (!is_sound(bytes_ + place, size, sum)) throw FormatError(name_, what + " undamaged", "bytes whose checksum does not fit");
    checked.store(1, std::memory_order_release);
  }
  return bytes_ + place;
}

namespace {

// n codes, as values or as they are.
template <class Code, class T>
void convert_codes(const unsigned char* from, std::int64_t n, float scale, float offset, T* into) {
  for (std::int64_t i = 0; i < n; ++i) {
    Code code;
    std::memcpy(&code, from + static_cast<std::size_t>(i) * sizeof code, sizeof code);
    if constexpr (std::is_same_v<T, float>) {
      into[i] = scale * static_cast<float>(code) + offset;
    } else {
      into[i] = static_cast<T>(code);
    }
  }
}

}  // namespace

template <class T>
void VolumeStore::read(const Channel& channel, const Extent3& first, const Extent3& shape, T* into) const {
  const auto scale = static_cast<float>(channel.scale), offset = static_cast<float>(channel.offset);
  Extent3 low, high;  // what is within the volume
  bool whole = true, empty = false;
  for (std::size_t a = 0; a < 3; ++a) {
    low[a] = std::max<std::int64_t>(first[a], 0);
    high[a] = std::min(first[a] + shape[a], shape_[a]);
    whole = whole && low[a] == first[a] && high[a] == first[a] + shape[a];
    empty = empty || low[a] >= high[a];
  }
  const T outside = std::is_same_v<T, float> ? static_cast<T>(channel.outside) : T{0};
  if (!whole) std::fill_n(into, shape[0] * shape[1] * shape[2], outside);
  if (empty) return;
  Extent3 at;
  for (at[0] = low[0] / kStoreChunk; at[0] * kStoreChunk < high[0]; ++at[0])
    for (at[1] = low[1] / kStoreChunk; at[1] * kStoreChunk < high[1]; ++at[1])
      for (at[2] = low[2] / kStoreChunk; at[2] * kStoreChunk < high[2]; ++at[2]) {
        const auto part = chunk_shape(shape_, at);
        std::int64_t constant = 0;
        const auto number = static_cast<std::size_t>((at[0] * grid_[1] + at[1]) * grid_[2] + at[2]);
        const auto* codes = chunk(channel, number, part[0] * part[1] * part[2], constant);
        T value{};
        if constexpr (std::is_same_v<T, float>) {
          value = scale * static_cast<float>(constant) + offset;
        } else {
          value = static_cast<T>(constant);
        }
        Extent3 from, to;  // within the chunk
        for (std::size_t a = 0; a < 3; ++a) {
          from[a] = std::max<std::int64_t>(low[a] - at[a] * kStoreChunk, 0);
          to[a] = std::min(high[a] - at[a] * kStoreChunk, part[a]);
        }
        const auto n = to[2] - from[2];
        for (auto x = from[0]; x < to[0]; ++x)
          for (auto y = from[1]; y < to[1]; ++y) {
            auto* row = into + ((at[0] * kStoreChunk + x - first[0]) * shape[1] + at[1] * kStoreChunk + y - first[1]) * shape[2] + at[2] * kStoreChunk +
                        from[2] - first[2];
            if (codes == nullptr) {
              std::fill_n(row, n, value);
            } else {
              const auto* line = codes + ((x * part[1] + y) * part[2] + from[2]) * channel.bytes;
              channel.bytes == 1 ? convert_codes<std::uint8_t>(line, n, scale, offset, row) : convert_codes<std::int16_t>(line, n, scale, offset, row);
            }
          }
      }
}

template void VolumeStore::read(const Channel&, const Extent3&, const Extent3&, float*) const;
template void VolumeStore::read(const Channel&, const Extent3&, const Extent3&, std::uint8_t*) const;
template void VolumeStore::read(const Channel&, const Extent3&, const Extent3&, std::int32_t*) const;

void VolumeStore::verify() const {
  for (const auto& channel : channels_) {
    std::size_t number = 0;
    Extent3 at;
    for (at[0] = 0; at[0] < grid_[0]; ++at[0])
      for (at[1] = 0; at[1] < grid_[1]; ++at[1])
        for (at[2] = 0; at[2] < grid_[2]; ++at[2], ++number) {
          const auto part = chunk_shape(shape_, at);
          std::int64_t constant = 0;
          chunk(channel, number, part[0] * part[1] * part[2], constant);
        }
  }
}

}  // namespace sslmed::io
